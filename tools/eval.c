/* t2t eval: top-1, top-5 and loss of weights on a data set. Alone, or as every rank of an mpirun or srun. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/memory.h"
#include "core/base/printable.h"
#include "dist/comm/world.h"
#include "dist/train/evaluate.h"
#include "tools/args.h"
#include "tools/inference_model.h"
#include "tools/tell.h"
#include "tools/tools.h"

static const char USAGE[] =
    "usage: t2t eval --data DIR --weights FILE [--option value ...]\n"
    "       mpirun -np N t2t eval ...                      (shares the images; every one counts exactly once)\n\n";

typedef struct Arguments {
    ClassifierSource source;
    const char *data, *split;
    int batch, threads;
    const char *confusion;
    bool json, per_class;
} Arguments;

static Status eval_parse(int argc, char **argv, Arguments *arguments, Operands *operands, Error *error)
{
    *arguments = (Arguments){.split = "val", .batch = 64};
    Settings *settings = &arguments->source.settings;
    const Arg args[] = {
        ARG_TEXT("data", "DIR", &arguments->data, "a converted data set"),
        ARG_TEXT("weights", "FILE", &arguments->source.weights,
                 "safetensors; what t2t train wrote knows its model and image size"),
        ARG_MODEL(settings, "the published model of weights from elsewhere"),
        ARG_CONFIG(settings, "or any other, by a configuration file"),
        ARG_SET(settings, "a change, such as img_size=384 or crop_pct=1.0; may be repeated"),
        ARG_TEXT("split", "NAME", &arguments->split, "val (default) or train"),
        ARG_INT("batch", "N", &arguments->batch, "images at a time on each rank (64)", 1, 65536),
        ARG_INT("threads", "N", &arguments->threads, "of each rank (default, and at most: the cores that it may use)",
                0, 65536),
        ARG_FLAG("per-class", &arguments->per_class, "also the images and the accuracy of each class"),
        ARG_TEXT("confusion", "FILE", &arguments->confusion,
                 "write how many images of each class (row) are taken for which class (column), as CSV"),
        ARG_FLAG("json", &arguments->json, "one line of JSON"),
        {0},
    };
    const CommandLine line = {.name = "t2t eval", .usage = USAGE, .args = args};
    Status status = args_parse(&line, argc, argv, operands, error);
    if (status || operands->helped || arguments->data) return status;
    return error_set(error, STATUS_USAGE, "--data DIR is missing; see `t2t eval --help`");
}

/* Weights judged by other classes than their own give figures that look plausible and mean nothing. */
static void compare_names(const Classifier *classifier, const Dataset *dataset, Log *log)
{
    if (!classifier->class_names) return;
    for (int i = 0; i < dataset_classes(dataset) && i < classifier->config.model.num_classes; i++) {
        const char *here = dataset_class_name(dataset, i), *there = classifier->class_names[i];
        if (!here || !there || strcmp(here, there) == 0) continue;
        log_write(log, LOG_WARNING, "class %d is '%s' in the data set but was '%s' when these weights were trained", i,
                  here, there);
        return;
    }
}

/* Whether the weights say that their first classes are those of the data set. */
static bool names_agree(const Classifier *classifier, const Dataset *dataset)
{
    if (!classifier->class_names) return false;
    for (int i = 0; i < dataset_classes(dataset) && i < classifier->config.model.num_classes; i++) {
        const char *here = dataset_class_name(dataset, i), *there = classifier->class_names[i];
        if (!here || !there || strcmp(here, there) != 0) return false;
    }
    return true;
}

/* A thousand classes judged on ten others give 0 % without a word. */
static Status check_classes(const Classifier *classifier, const Dataset *dataset, Error *error)
{
    const int known = classifier->config.model.num_classes, present = dataset_classes(dataset);
    if (known == present || names_agree(classifier, dataset)) return STATUS_OK;
    return error_set(
        error, STATUS_USAGE,
        "these weights know %d classes and the data set has %d, so class 3 of the one is not class 3 of the "
        "other: expected a data set of their classes, or weights that were trained on this one",
        known, present);
}

/* Pixels have to be as the weights were trained: a wrong mean or crop costs points and shows nowhere else. */
static void print_pixels(const PipelineConfig *p)
{
    printf("pixels %d x %d, the middle %g of the shorter side (%s), mean %g %g %g, std %g %g %g\n", p->img_size,
           p->img_size, p->crop_pct, p->interpolation == INTERPOLATION_BICUBIC ? "bicubic" : "bilinear", p->mean[0],
           p->mean[1], p->mean[2], p->std[0], p->std[1], p->std[2]);
}

static void csv_text(FILE *out, const char *text)
{
    fputc('"', out);
    for (; *text; text++) {
        if (*text == '"') fputc('"', out);
        fputc(*text, out);
    }
    fputc('"', out);
}

static const char *name_of(const Dataset *dataset, int class, char *text, size_t size)
{
    const char *name = class < dataset_classes(dataset) ? dataset_class_name(dataset, class) : NULL;
    if (name)
        snprintf(text, size, "%s", name);
    else
        snprintf(text, size, "class %d", class);
    return text;
}

/* A heading and one row for each class of the data set; columns are all classes of the model. */
static Status write_confusion(const char *path, const Dataset *dataset, int classes, const int64_t *confusion,
                              Error *error)
{
    char name[256];
    FILE *out = fopen(path, "w");
    if (!out) return error_set(error, STATUS_FAILED, "%s: cannot write: %s", path, strerror(errno));
    fputs("class", out);
    for (int c = 0; c < classes; c++) {
        fputc(',', out);
        csv_text(out, name_of(dataset, c, name, sizeof name));
    }
    fputc('\n', out);
    for (int r = 0; r < dataset_classes(dataset); r++) {
        csv_text(out, name_of(dataset, r, name, sizeof name));
        for (int c = 0; c < classes; c++) fprintf(out, ",%" PRId64, confusion[(size_t)r * (size_t)classes + (size_t)c]);
        fputc('\n', out);
    }
    const bool failed = ferror(out) != 0;
    if (fclose(out) == 0 && !failed) return STATUS_OK;
    return error_set(error, STATUS_FAILED, "%s: cannot write: %s", path, strerror(errno));
}

static void print_accuracies(const Dataset *dataset, int classes, const int64_t *confusion)
{
    char name[256], shown[1024];
    for (int r = 0; r < dataset_classes(dataset); r++) {
        const int64_t *row = confusion + (size_t)r * (size_t)classes;
        int64_t images = 0;
        for (int c = 0; c < classes; c++) images += row[c];
        const double share = images ? 100.0 * (double)row[r] / (double)images : 0;
        printf("%7.2f %%  of %6" PRId64 "  %s\n", share, images,
               printable(shown, sizeof shown, name_of(dataset, r, name, sizeof name)));
    }
}

static void eval_print(const Arguments *arguments, const Evaluation *result)
{
    const char *format = arguments->json ? "{\"count\":%" PRId64 ",\"top1\":%.4f,\"top5\":%.4f,\"loss\":%.6f}\n"
                                         : "images %" PRId64 "\ntop-1  %.3f %%\ntop-5  %.3f %%\nloss   %.5f\n";
    printf(format, result->count, evaluation_top1(result), evaluation_top5(result), evaluation_loss(result));
}

static Status eval_here(const Arguments *arguments, const World *world, Log *log, Error *error)
{
    Classifier classifier = {0};
    Dataset *dataset = NULL;
    Evaluation result;
    int64_t *confusion = NULL;
    Status status = classifier_open(&classifier, &arguments->source, error);
    int threads = cores_threads(&world->cores, arguments->threads);
    if (!status) status = classifier_prepare(&classifier, arguments->batch, threads, error);
    if (!status) status = dataset_open(&dataset, arguments->data, arguments->split, error);
    if (!status) status = check_classes(&classifier, dataset, error);
    status = world_agree(world->comm, status, error);
    if (status) goto release;
    if (world->rank == 0 && !arguments->json) print_pixels(&classifier.config.pipeline);
    WorldReport report;
    world_report(world, arguments->threads, threads, &report);
    if (report.warning[0]) log_write(log, LOG_WARNING, "%s", report.warning);
    if (world->rank == 0) compare_names(&classifier, dataset, log);
    if (classifier.report.positions_resized)
        log_write(log, LOG_INFO, "the position table of %" PRId64 " tokens is resized to %d",
                  classifier.report.file_positions, zoo_tokens(&classifier.config.model));
    EvaluateConfig config = {.comm = world->comm,
                             .dataset = dataset,
                             .pipeline = classifier.config.pipeline,
                             .log = log,
                             .batch = arguments->batch,
                             .workers = classifier.config.workers};
    const int classes = classifier.config.model.num_classes;
    if (arguments->per_class || arguments->confusion) {
        config.confusion = confusion = memory_alloc((int64_t)classes * classes, sizeof *confusion, "confusions", error);
        status = world_agree(world->comm, confusion ? STATUS_OK : STATUS_FAILED, error);
    }
    if (!status) status = evaluate(&config, &classifier.model, 1, &result, error);
    if (!status && world->rank == 0) eval_print(arguments, &result);
    if (!status && world->rank == 0 && arguments->per_class && !arguments->json)
        print_accuracies(dataset, classes, confusion);
    if (!status && world->rank == 0 && arguments->confusion)
        status = write_confusion(arguments->confusion, dataset, classes, confusion, error);
release:
    free(confusion);
    dataset_close(dataset);
    classifier_close(&classifier);
    return status;
}

Status tool_eval(int argc, char **argv, Error *error)
{
    Arguments arguments;
    Operands operands;
    Status status = eval_parse(argc, argv, &arguments, &operands, error);
    if (status || operands.helped) return status;
    World world;
    Log log;
    status = world_start(&world, error);
    if (!status) status = log_open(&log, world.rank, LOG_INFO, error);
    if (!status) {
        status = eval_here(&arguments, &world, &log, error);
        if (status) tell_failure(&world, "eval", error);
        log_close(&log);
    }
    world_end(&world);
    return status;
}
