/* t2t predict: what is in these images. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/base/printable.h"
#include "tools/args.h"
#include "tools/image_input.h"
#include "tools/inference_model.h"
#include "tools/tools.h"

static const char USAGE[] = "usage: t2t predict --weights FILE IMAGE... [--option value ...]\n\n"
                            "Prints the most likely classes of each JPEG or PNG image.\n\n";

enum { MAX_TOP = 100 };

typedef struct Arguments {
    ClassifierSource source;
    int top;
} Arguments;

static Status predict_parse(int argc, char **argv, Arguments *arguments, Operands *images, Error *error)
{
    *arguments = (Arguments){.top = 5};
    Settings *settings = &arguments->source.settings;
    const Arg args[] = {
        ARG_TEXT("weights", "FILE", &arguments->source.weights,
                 "safetensors; what t2t train wrote knows its model, image size and classes"),
        ARG_MODEL(settings, "the published model of weights from elsewhere"),
        ARG_CONFIG(settings, "or any other, by a configuration file"),
        ARG_SET(settings, "a change, such as img_size=384; may be repeated"),
        ARG_INT("top", "K", &arguments->top, "classes per image (5)", 1, MAX_TOP),
        {0},
    };
    const CommandLine line = {.name = "t2t predict", .usage = USAGE, .args = args, .most_operands = -1};
    Status status = args_parse(&line, argc, argv, images, error);
    if (status || images->helped || images->count) return status;
    return error_set(error, STATUS_USAGE, "which images? see `t2t predict --help`");
}

typedef struct Predictor {
    Classifier classifier;
    Pictures pictures;
    float *image;  /* (1, 3, S, S) */
    float *logits; /* (1, classes) */
} Predictor;

static Status predictor_create(Predictor *predictor, const ClassifierSource *source, Error *error)
{
    *predictor = (Predictor){0};
    Status status = classifier_open(&predictor->classifier, source, error);
    if (status) return status;
    const Config *config = &predictor->classifier.config;
    size_t side = (size_t)config->model.img_size;
    status = classifier_prepare(&predictor->classifier, 1, 0, error);
    if (!status) status = pictures_create(&predictor->pictures, &config->pipeline, error);
    predictor->image = malloc(3 * side * side * sizeof(float));
    predictor->logits = malloc((size_t)config->model.num_classes * sizeof(float));
    if (!status && (!predictor->image || !predictor->logits))
        status = error_set(error, STATUS_FAILED, "out of memory for an image");
    return status;
}

static void predictor_free(Predictor *predictor)
{
    free(predictor->logits);
    free(predictor->image);
    pictures_free(&predictor->pictures);
    classifier_close(&predictor->classifier);
}

static Status predict(Predictor *predictor, const char *path, Error *error)
{
    Status status = pictures_read(&predictor->pictures, path, predictor->image, NULL, error);
    if (status) return status;
    ModelInput input = {.count = 1, .images = predictor->image};
    model_forward(predictor->classifier.model, &input, predictor->logits);
    return STATUS_OK;
}

/* The k largest logits as softmax probabilities, largest first. Overwrites the logits that it prints. */
static void print_top(Predictor *predictor, const char *path, int k)
{
    int classes = predictor->classifier.config.model.num_classes;
    float *logits = predictor->logits;
    double largest = -INFINITY, sum = 0;
    for (int c = 0; c < classes; c++) largest = logits[c] > largest ? logits[c] : largest;
    for (int c = 0; c < classes; c++) sum += exp(logits[c] - largest);
    printf("%s\n", path);
    for (int i = 0; i < k && i < classes; i++) {
        char name[256], shown[1024];
        int best = 0;
        for (int c = 1; c < classes; c++)
            if (logits[c] > logits[best]) best = c;
        classifier_name(&predictor->classifier, best, name, sizeof name);
        printf("  %6.2f %%  %s\n", 100 * exp(logits[best] - largest) / sum, printable(shown, sizeof shown, name));
        logits[best] = -INFINITY;
    }
}

Status tool_predict(int argc, char **argv, Error *error)
{
    Arguments arguments;
    Predictor predictor;
    Operands images;
    Status status = predict_parse(argc, argv, &arguments, &images, error);
    if (status || images.helped) return status;
    int failed = 0;
    status = predictor_create(&predictor, &arguments.source, error);
    for (int i = 0; !status && i < images.count; i++) {
        /* One bad image does not keep the others from being looked at. */
        Error problem = {0};
        if (predict(&predictor, images.items[i], &problem) == STATUS_OK) {
            print_top(&predictor, images.items[i], arguments.top);
        } else {
            fprintf(stderr, "%s\n", problem.message);
            failed++;
        }
    }
    if (failed) status = error_set(error, STATUS_DATA, "%d of %d images cannot be read", failed, images.count);
    predictor_free(&predictor);
    return status;
}
