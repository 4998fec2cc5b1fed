/* t2t predict: what is in these images. */
#include <stdio.h>
#include <stdlib.h>

#include "core/base/memory.h"
#include "core/base/printable.h"
#include "core/optim/loss.h"
#include "tools/args.h"
#include "tools/image_input.h"
#include "tools/image_list.h"
#include "tools/inference_model.h"
#include "tools/json_output.h"
#include "tools/tools.h"

static const char USAGE[] = "usage: t2t predict --weights FILE IMAGE|FOLDER... [--list FILE] [--option value ...]\n\n"
                            "Prints the most likely classes of each JPEG or PNG image. A folder stands for the images "
                            "below it. What cannot be\n"
                            "read is named, the rest is done, and the exit status is then 3.\n\n";

enum { MAX_TOP = 100, DEFAULT_BATCH = 32 };

typedef struct Arguments {
    ClassifierSource source;
    const char *list;
    int top, batch, threads;
    bool json;
} Arguments;

static Status predict_parse(int argc, char **argv, Arguments *arguments, Operands *images, Error *error)
{
    *arguments = (Arguments){.top = 5, .batch = DEFAULT_BATCH};
    Settings *settings = &arguments->source.settings;
    const Arg args[] = {
        ARG_TEXT("weights", "FILE", &arguments->source.weights,
                 "safetensors; what t2t train wrote knows its model, image size and classes"),
        ARG_MODEL(settings, "the published model of weights from elsewhere"),
        ARG_CONFIG(settings, "or any other, by a configuration file"),
        ARG_SET(settings, "a change, such as img_size=384; may be repeated"),
        ARG_TEXT("list", "FILE", &arguments->list, "images, too: a path on each line; -: standard input"),
        ARG_INT("top", "K", &arguments->top, "classes per image (5)", 1, MAX_TOP),
        ARG_INT("batch", "N", &arguments->batch, "images at a time (32)", 1, 65536),
        ARG_INT("threads", "N", &arguments->threads, "(default, and at most: the cores that it may use)", 0, 65536),
        ARG_FLAG("json", &arguments->json, "a line of JSON for each image"),
        {0},
    };
    const CommandLine line = {.name = "t2t predict", .usage = USAGE, .args = args, .most_operands = -1};
    Status status = args_parse(&line, argc, argv, images, error);
    if (status || images->helped || images->count || arguments->list) return status;
    return error_set(error, STATUS_USAGE, "which images? see `t2t predict --help`");
}

static Status list_images(const Arguments *arguments, const Operands *operands, ImageList *list, Error *error)
{
    Status status = STATUS_OK;
    for (int i = 0; i < operands->count && !status; i++) status = image_list_add(list, operands->items[i], error);
    if (!status && arguments->list) status = image_list_read(list, arguments->list, error);
    return status;
}

/* ---- a batch */

typedef struct Predictor {
    Classifier classifier;
    Pictures *pictures; /* (threads) */
    int threads, batch;
    float *images; /* (batch, 3, S, S) */
    float *logits; /* (batch, classes) */
    Error *errors; /* (batch) */
    char *const *paths;
} Predictor;

static Status predictor_create(Predictor *predictor, const Arguments *arguments, int count, Error *error)
{
    *predictor = (Predictor){.batch = arguments->batch < count ? arguments->batch : count};
    Classifier *classifier = &predictor->classifier;
    Status status = classifier_open(classifier, &arguments->source, error);
    if (!status) status = classifier_prepare(classifier, predictor->batch, arguments->threads, error);
    if (status) return status;
    static const char PURPOSE[] = "a batch of images";
    const int64_t side = classifier->config.model.img_size, batch = predictor->batch;
    predictor->threads = pool_threads(classifier->pool);
    predictor->pictures = memory_alloc(predictor->threads, sizeof *predictor->pictures, PURPOSE, error);
    predictor->images = memory_alloc(batch * 3 * side * side, sizeof(float), PURPOSE, error);
    predictor->logits = memory_alloc(batch * classifier->config.model.num_classes, sizeof(float), PURPOSE, error);
    predictor->errors = memory_alloc(batch, sizeof *predictor->errors, PURPOSE, error);
    if (!predictor->pictures || !predictor->images || !predictor->logits || !predictor->errors) return STATUS_FAILED;
    for (int i = 0; i < predictor->threads && !status; i++)
        status = pictures_create(&predictor->pictures[i], &classifier->config.pipeline, error);
    return status;
}

static void predictor_free(Predictor *predictor)
{
    for (int i = 0; i < predictor->threads && predictor->pictures; i++) pictures_free(&predictor->pictures[i]);
    free(predictor->pictures);
    free(predictor->errors);
    free(predictor->logits);
    free(predictor->images);
    classifier_close(&predictor->classifier);
}

/* One bad image does not keep the others from being looked at. */
static void read_task(void *context, int64_t task, int thread)
{
    Predictor *predictor = context;
    const int64_t side = predictor->classifier.config.model.img_size;
    predictor->errors[task] = (Error){0};
    pictures_read(&predictor->pictures[thread], predictor->paths[task], predictor->images + task * 3 * side * side,
                  NULL, &predictor->errors[task]);
}

static void predict_batch(Predictor *predictor, char *const *paths, int count)
{
    predictor->paths = paths;
    pool_run(predictor->classifier.pool, count, read_task, predictor);
    ModelInput input = {.count = count, .images = predictor->images};
    model_forward(predictor->classifier.model, &input, predictor->logits);
}

/* ---- its result */

static void print_guesses(const Classifier *classifier, const char *path, const Guess *top, int count)
{
    char name[1024], shown[4 * 4096];
    printf("%s\n", printable(shown, sizeof shown, path));
    for (int i = 0; i < count; i++) {
        classifier_name(classifier, top[i].class, name, sizeof name);
        printf("  %6.2f %%  %s\n", 100 * top[i].probability, printable(shown, sizeof shown, name));
    }
}

static void print_guesses_json(const Classifier *classifier, const char *path, const Guess *top, int count)
{
    char name[1024];
    json_t *list = json_array();
    for (int i = 0; i < count; i++) {
        classifier_name(classifier, top[i].class, name, sizeof name);
        json_array_append_new(list, json_pack("{si so so}", "class", top[i].class, "name", json_words(name),
                                              "probability", json_figure(top[i].probability)));
    }
    json_print(json_pack("{so so}", "path", json_words(path), "top", list));
}

static void print_failure(const Arguments *arguments, const char *path, const Error *problem)
{
    fprintf(stderr, "%s\n", problem->message);
    if (arguments->json)
        json_print(json_pack("{so so}", "path", json_words(path), "error", json_words(problem->message)));
}

/* Returns how many could not be read. */
static int print_batch(Predictor *predictor, const Arguments *arguments, char *const *paths, int count)
{
    const Classifier *classifier = &predictor->classifier;
    const int classes = classifier->config.model.num_classes;
    int failed = 0;
    for (int i = 0; i < count; i++) {
        Guess top[MAX_TOP];
        if (predictor->errors[i].status) {
            print_failure(arguments, paths[i], &predictor->errors[i]);
            failed++;
            continue;
        }
        int found = loss_likeliest(predictor->logits + (size_t)i * (size_t)classes, classes, arguments->top, top);
        (arguments->json ? print_guesses_json : print_guesses)(classifier, paths[i], top, found);
    }
    return failed;
}

Status tool_predict(int argc, char **argv, Error *error)
{
    Arguments arguments;
    Predictor predictor = {0};
    Operands operands;
    ImageList images = {0};
    int failed = 0;
    Status status = predict_parse(argc, argv, &arguments, &operands, error);
    if (status || operands.helped) return status;
    status = list_images(&arguments, &operands, &images, error);
    if (!status && images.count == 0) status = error_set(error, STATUS_USAGE, "%s: names no image", arguments.list);
    if (!status) status = predictor_create(&predictor, &arguments, images.count, error);
    for (int at = 0; !status && at < images.count; at += predictor.batch) {
        int left = images.count - at, count = left < predictor.batch ? left : predictor.batch;
        predict_batch(&predictor, images.paths + at, count);
        failed += print_batch(&predictor, &arguments, images.paths + at, count);
    }
    if (failed) status = error_set(error, STATUS_DATA, "%d of %d images cannot be read", failed, images.count);
    predictor_free(&predictor);
    image_list_free(&images);
    return status;
}
