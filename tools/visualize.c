/* t2t visualize: what a model looks at, and what becomes of an image on its way, as pictures. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "core/base/memory.h"
#include "tools/args.h"
#include "tools/image_input.h"
#include "tools/inference_model.h"
#include "tools/tools.h"
#include "tools/visualize_pages.h"

static const char USAGE[] =
    "usage: t2t visualize --weights FILE --output DIR [--option value ...] IMAGE...\n\n"
    "Writes pictures of what a model makes of each JPEG or PNG image, as PNG files in DIR:\n\n"
    "  NAME.attention.png       where the class token looks: a row of tiles for each block, one for each head\n"
    "  NAME.rollout.png         the image, and attention rolled out over all blocks (Abnar, Zuidema 2020)\n"
    "  NAME.tokens.png          the tokens after each soft split: a row for each, some of its channels\n"
    "  NAME.features.LAYER.png  up to 64 channels of each layer that --layer names\n"
    "  positions.png            how similar each position's embedding is to that of every other\n\n"
    "Black is the least value of a tile, light yellow its largest.\n\n";

typedef struct Arguments {
    ClassifierSource source;
    const char *output, *layer;
    int threads;
} Arguments;

static Status visualize_parse(int argc, char **argv, Arguments *arguments, Operands *images, Error *error)
{
    *arguments = (Arguments){.layer = ""};
    Settings *settings = &arguments->source.settings;
    const Arg args[] = {
        ARG_TEXT("weights", "FILE", &arguments->source.weights,
                 "safetensors; what t2t train wrote knows its model and image size"),
        ARG_TEXT("output", "DIR", &arguments->output, "the folder of the pictures; it is made if it is not there"),
        ARG_TEXT("layer", "PATTERN", &arguments->layer,
                 "layers whose channels are drawn, such as 'tokens_to_token.attention2' or 'blocks.[35]'"),
        ARG_MODEL(settings, "the published model of weights from elsewhere"),
        ARG_CONFIG(settings, "or any other, by a configuration file"),
        ARG_SET(settings, "a change, such as img_size=384; may be repeated"),
        ARG_INT("threads", "N", &arguments->threads, "(default, and at most: the cores that the process may use)", 0,
                65536),
        {0},
    };
    const CommandLine line = {.name = "t2t visualize", .usage = USAGE, .args = args, .most_operands = -1};
    Status status = args_parse(&line, argc, argv, images, error);
    if (status || images->helped) return status;
    if (!arguments->output) return error_set(error, STATUS_USAGE, "--output DIR is missing");
    if (!images->count) return error_set(error, STATUS_USAGE, "which images? see `t2t visualize --help`");
    return STATUS_OK;
}

typedef struct Visualizer {
    Classifier classifier;
    Pictures pictures;
    Pages pages;
    float *image, *logits; /* (1, 3, S, S), (1, classes) */
    uint8_t *pixels;       /* (S, S, 3) */
} Visualizer;

static Status visualizer_create(Visualizer *visualizer, const Arguments *arguments, Error *error)
{
    Classifier *classifier = &visualizer->classifier;
    *visualizer = (Visualizer){0};
    Status status = classifier_open(classifier, &arguments->source, error);
    if (!status) status = pool_create(&classifier->pool, pool_useful_threads(arguments->threads), error);
    if (!status)
        status = model_create(&classifier->model, &classifier->config.model, 1, MODEL_OBSERVE, classifier->pool, error);
    if (status) return status;
    model_set_weights(classifier->model, classifier->weights);
    const ModelConfig *model = &classifier->config.model;
    size_t size = 3 * (size_t)model->img_size * (size_t)model->img_size;
    visualizer->image = memory_alloc((int64_t)size, sizeof(float), "an image", error);
    visualizer->pixels = memory_alloc((int64_t)size, 1, "an image's pixels", error);
    visualizer->logits = memory_alloc(model->num_classes, sizeof(float), "logits", error);
    if (error->status) return error->status;
    status = pictures_create(&visualizer->pictures, &classifier->config.pipeline, error);
    return status ? status : pages_create(&visualizer->pages, model, arguments->layer, error);
}

static void visualizer_free(Visualizer *visualizer)
{
    pages_free(&visualizer->pages);
    pictures_free(&visualizer->pictures);
    free(visualizer->image);
    free(visualizer->pixels);
    free(visualizer->logits);
    classifier_close(&visualizer->classifier);
}

/* The name of a file without its folder and its ending. */
static void stem_of(const char *path, char *stem, size_t size)
{
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path, *dot = strrchr(base, '.');
    int length = dot && dot > base ? (int)(dot - base) : (int)strlen(base);
    snprintf(stem, size, "%.*s", length, base);
}

/* "DIR/NAME" of an image; "DIR/NAME-2" for the second one of that name. */
static Status picture_name(const char *folder, char *const *images, int index, char *path, size_t size, Error *error)
{
    char stem[256], other[256], name[300];
    int same = 1;
    stem_of(images[index], stem, sizeof stem);
    for (int i = 0; i < index; i++) {
        stem_of(images[i], other, sizeof other);
        same += strcmp(stem, other) == 0;
    }
    if (same > 1)
        snprintf(name, sizeof name, "%s-%d", stem, same);
    else
        snprintf(name, sizeof name, "%s", stem);
    return path_join(path, size, folder, name, error);
}

static Status draw_image(Visualizer *visualizer, const char *image, const char *name, Error *error)
{
    Model *model = visualizer->classifier.model;
    Status status = pictures_read(&visualizer->pictures, image, visualizer->image, visualizer->pixels, error);
    if (status) return status;
    ModelInput input = {.count = 1, .images = visualizer->image};
    pages_begin(&visualizer->pages, visualizer->pixels);
    model_observe(model, pages_take, &visualizer->pages);
    model_forward(model, &input, visualizer->logits);
    return pages_write(&visualizer->pages, name, error);
}

Status tool_visualize(int argc, char **argv, Error *error)
{
    Arguments arguments;
    Visualizer visualizer;
    Operands images;
    Status status = visualize_parse(argc, argv, &arguments, &images, error);
    if (status || images.helped) return status;
    int failed = 0;
    status = visualizer_create(&visualizer, &arguments, error);
    if (!status) status = file_make_folders(arguments.output, error);
    if (!status)
        status = positions_write(&visualizer.classifier.table, visualizer.classifier.weights, arguments.output, error);
    for (int i = 0; !status && i < images.count; i++) {
        char name[PATH_SIZE];
        Error problem = {0};
        status = picture_name(arguments.output, images.items, i, name, sizeof name, error);
        if (status) break;
        Status drawn = draw_image(&visualizer, images.items[i], name, &problem);
        if (drawn && drawn != STATUS_DATA) { /* not this image's fault */
            *error = problem;
            status = drawn;
        } else if (drawn) {
            fprintf(stderr, "%s\n", problem.message);
            failed++;
        }
    }
    if (failed && !status)
        status = error_set(error, STATUS_DATA, "%d of %d images cannot be read", failed, images.count);
    visualizer_free(&visualizer);
    return status;
}
