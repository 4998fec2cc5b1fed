/* t2t eval: top-1, top-5 and loss of weights on a data set. Alone, or as every rank of an mpirun or srun. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/memory.h"
#include "core/base/printable.h"
#include "dist/comm/world.h"
#include "tools/args.h"
#include "tools/eval_files.h"
#include "tools/inference_model.h"
#include "tools/json_output.h"
#include "tools/tell.h"
#include "tools/tools.h"

static const char USAGE[] =
    "usage: t2t eval --data DIR --weights FILE... [--option value ...]\n"
    "       mpirun -np N t2t eval ...                      (shares the images; every one counts exactly once)\n\n";

typedef struct Arguments {
    ClassifierSource source; /* of the first weights ... */
    Operands more;           /* ... and further ones */
    const char *data, *split;
    int batch, threads;
    const char *confusion, *predictions;
    PredictionFormat format; /* of the predictions */
    bool json, per_class;
} Arguments;

static Status check_arguments(Arguments *arguments, Error *error)
{
    const Operands *more = &arguments->more;
    if (!arguments->data) return error_set(error, STATUS_USAGE, "--data DIR is missing; see `t2t eval --help`");
    if (!arguments->source.weights) return error_set(error, STATUS_USAGE, "--weights FILE is missing");
    if (more->count && (arguments->confusion || arguments->predictions))
        return error_set(error, STATUS_USAGE, "%s is written of one file of weights, and %d are given",
                         arguments->confusion ? "--confusion" : "--predictions", 1 + more->count);
    return arguments->predictions ? prediction_format(arguments->predictions, &arguments->format, error) : STATUS_OK;
}

static Status eval_parse(int argc, char **argv, Arguments *arguments, Error *error)
{
    *arguments = (Arguments){.split = "val", .batch = 64};
    Settings *settings = &arguments->source.settings;
    const Arg args[] = {
        ARG_TEXT("data", "DIR", &arguments->data, "a converted data set"),
        ARG_TEXT(
            "weights", "FILE", &arguments->source.weights,
            "safetensors; what t2t train wrote knows its model, image size and pixels. More may follow it: a table"),
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
        ARG_TEXT("predictions", "FILE", &arguments->predictions,
                 "write of each image its number, shard and key, label, and the five likeliest classes: a FILE.csv, or "
                 "lines of JSON, a FILE.jsonl. Images of val are numbered in their source's order. In CSV, names that "
                 "begin with =, +, - or @ get an apostrophe before it, so that no spreadsheet computes them"),
        ARG_FLAG("json", &arguments->json, "a line of JSON for each file of weights"),
        {0},
    };
    const CommandLine line = {.name = "t2t eval", .usage = USAGE, .args = args, .most_operands = -1};
    Status status = args_parse(&line, argc, argv, &arguments->more, error);
    return status || arguments->more.helped ? status : check_arguments(arguments, error);
}

/* ---- do weights and data set belong together? */

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
static Status check_classes(const Classifier *classifier, const Dataset *dataset, const char *path, Error *error)
{
    const int known = classifier->config.model.num_classes, present = dataset_classes(dataset);
    if (known == present || names_agree(classifier, dataset)) return STATUS_OK;
    return error_set(
        error, STATUS_USAGE,
        "%s: these weights know %d classes and the data set has %d, so class 3 of the one is not class 3 of the "
        "other: expected a data set of their classes, or weights that were trained on this one",
        path, known, present);
}

/* ---- what it prints */

typedef struct Eval {
    const Arguments *arguments;
    const World *world;
    Log *log;
    Dataset *dataset;
    int threads;
    FILE *confusion, *predictions; /* on rank 0, if asked for */
    char pixels[256];              /* as they were printed last */
} Eval;

/* Pixels have to be as the weights were trained: a wrong mean or crop costs points and shows nowhere else. Of several files
 * those with the same pixels stand below one line. */
static void print_heading(Eval *eval, const PipelineConfig *p)
{
    char text[sizeof eval->pixels];
    snprintf(text, sizeof text, "pixels %d x %d, the middle %g of the shorter side (%s), mean %g %g %g, std %g %g %g",
             p->img_size, p->img_size, p->crop_pct, p->interpolation == INTERPOLATION_BICUBIC ? "bicubic" : "bilinear",
             p->mean[0], p->mean[1], p->mean[2], p->std[0], p->std[1], p->std[2]);
    if (strcmp(text, eval->pixels) == 0) return;
    printf("%s\n", text);
    if (eval->arguments->more.count) printf("  top-1 %%   top-5 %%      loss    images  weights\n");
    memcpy(eval->pixels, text, sizeof text);
}

static json_t *json_pixels(const PipelineConfig *p)
{
    return json_pack("{si sf ss s[fff] s[fff]}", "img_size", p->img_size, "crop_pct", p->crop_pct, "interpolation",
                     p->interpolation == INTERPOLATION_BICUBIC ? "bicubic" : "bilinear", "mean", p->mean[0], p->mean[1],
                     p->mean[2], "std", p->std[0], p->std[1], p->std[2]);
}

/* Images of a class, and what share of them is taken for it, in percent. */
static int64_t class_accuracy(const int64_t *confusion, int class, int classes, double *share)
{
    const int64_t *row = confusion + (size_t) class * (size_t)classes;
    int64_t images = 0;
    for (int c = 0; c < classes; c++) images += row[c];
    *share = images ? 100.0 * (double)row[class] / (double)images : 0;
    return images;
}

static void print_figures_json(const Eval *eval, const Classifier *classifier, const char *path,
                               const Evaluation *result, const int64_t *confusion)
{
    char name[1024];
    json_t *line =
        json_pack("{so sI so so so so}", "weights", json_words(path), "count", (json_int_t)result->count, "top1",
                  json_figure(evaluation_top1(result)), "top5", json_figure(evaluation_top5(result)), "loss",
                  json_figure(evaluation_loss(result)), "pixels", json_pixels(&classifier->config.pipeline));
    json_t *list = eval->arguments->per_class ? json_array() : NULL;
    for (int c = 0; list && c < dataset_classes(eval->dataset); c++) {
        double share;
        int64_t images = class_accuracy(confusion, c, classifier->config.model.num_classes, &share);
        eval_class_name(eval->dataset, c, name, sizeof name);
        json_array_append_new(list, json_pack("{si ss sI so}", "class", c, "name", name, "images", (json_int_t)images,
                                              "top1", images ? json_figure(share) : json_null()));
    }
    if (list) json_object_set_new(line, "classes", list);
    json_print(line);
}

static void print_accuracies(const Dataset *dataset, int classes, const int64_t *confusion)
{
    char name[1024];
    for (int c = 0; c < dataset_classes(dataset); c++) {
        double share;
        int64_t images = class_accuracy(confusion, c, classes, &share);
        printf("%7.2f %%  of %6" PRId64 "  %s\n", share, images, eval_class_name(dataset, c, name, sizeof name));
    }
}

static void print_figures(const Eval *eval, const char *path, const Evaluation *result)
{
    char shown[4 * 4096];
    const double top1 = evaluation_top1(result), top5 = evaluation_top5(result), loss = evaluation_loss(result);
    if (eval->arguments->more.count)
        printf("%9.3f %9.3f %9.5f %9" PRId64 "  %s\n", top1, top5, loss, result->count,
               printable(shown, sizeof shown, path));
    else
        printf("images %" PRId64 "\ntop-1  %.3f %%\ntop-5  %.3f %%\nloss   %.5f\n", result->count, top1, top5, loss);
    fflush(stdout); /* the next one may take an hour */
}

/* ---- one file of weights */

static Status open_weights(Eval *eval, const char *path, Classifier *classifier, Error *error)
{
    ClassifierSource source = eval->arguments->source;
    source.weights = path;
    Status status = classifier_open(classifier, &source, error);
    if (!status) status = check_classes(classifier, eval->dataset, path, error);
    return world_agree(eval->world->comm, status, error);
}

static void report_result(Eval *eval, const Classifier *classifier, const char *path, const Evaluation *result,
                          const EvaluateConfig *config)
{
    const Arguments *arguments = eval->arguments;
    const int classes = classifier->config.model.num_classes;
    if (arguments->json) {
        print_figures_json(eval, classifier, path, result, config->confusion);
    } else {
        print_figures(eval, path, result);
        if (arguments->per_class) print_accuracies(eval->dataset, classes, config->confusion);
    }
    if (eval->confusion) write_confusion(eval->confusion, eval->dataset, classes, config->confusion);
    if (eval->predictions) write_predictions(eval->predictions, arguments->format, eval->dataset, config->predictions);
}

static Status run_evaluation(Eval *eval, Classifier *classifier, const char *path, Error *error)
{
    const Arguments *arguments = eval->arguments;
    const int64_t classes = classifier->config.model.num_classes;
    EvaluateConfig config = {.comm = eval->world->comm,
                             .dataset = eval->dataset,
                             .pipeline = classifier->config.pipeline,
                             .log = eval->log,
                             .batch = arguments->batch,
                             .workers = classifier->config.workers};
    Evaluation result;
    Status status = classifier_prepare(classifier, arguments->batch, eval->threads, error);
    if (!status && (arguments->per_class || arguments->confusion)) {
        config.confusion = memory_alloc(classes * classes, sizeof *config.confusion, "the confusion of classes", error);
        if (!config.confusion) status = STATUS_FAILED;
    }
    if (!status && arguments->predictions) {
        config.predictions =
            memory_alloc(dataset_count(eval->dataset), sizeof *config.predictions, "the predictions", error);
        if (!config.predictions) status = STATUS_FAILED;
    }
    status = world_agree(eval->world->comm, status, error);
    if (!status) status = evaluate(&config, &classifier->model, 1, &result, error);
    if (!status && eval->world->rank == 0) report_result(eval, classifier, path, &result, &config);
    free(config.confusion);
    free(config.predictions);
    return status;
}

static Status eval_weights(Eval *eval, const char *path, Error *error)
{
    Classifier classifier = {0};
    Status status = open_weights(eval, path, &classifier, error);
    if (!status) {
        if (eval->world->rank == 0 && !eval->arguments->json) print_heading(eval, &classifier.config.pipeline);
        if (eval->world->rank == 0) compare_names(&classifier, eval->dataset, eval->log);
        if (classifier.report.positions_resized)
            log_write(eval->log, LOG_INFO, "the position table of %" PRId64 " tokens is resized to %d",
                      classifier.report.file_positions, zoo_tokens(&classifier.config.model));
        status = run_evaluation(eval, &classifier, path, error);
    }
    classifier_close(&classifier);
    return status;
}

/* ---- all of them */

static const char *weights_at(const Arguments *arguments, int index)
{
    return index == 0 ? arguments->source.weights : arguments->more.items[index - 1];
}

/* Of several files the last is looked at before the first takes its hour. */
static Status check_weights(Eval *eval, Error *error)
{
    Status status = STATUS_OK;
    for (int i = 0; i <= eval->arguments->more.count && eval->arguments->more.count && !status; i++) {
        Classifier classifier = {0};
        status = open_weights(eval, weights_at(eval->arguments, i), &classifier, error);
        classifier_close(&classifier);
    }
    return status;
}

static Status open_files(Eval *eval, Error *error)
{
    const Arguments *arguments = eval->arguments;
    Status status = STATUS_OK;
    if (eval->world->rank == 0 && arguments->confusion)
        status = eval_file_open(&eval->confusion, arguments->confusion, error);
    if (!status && eval->world->rank == 0 && arguments->predictions)
        status = eval_file_open(&eval->predictions, arguments->predictions, error);
    return world_agree(eval->world->comm, status, error);
}

/* What went wrong before comes first. */
static Status close_files(Eval *eval, Status status, Error *error)
{
    Error later = {0};
    Status closed = eval_file_close(eval->confusion, eval->arguments->confusion, status ? &later : error);
    if (!status) status = closed;
    closed = eval_file_close(eval->predictions, eval->arguments->predictions, status ? &later : error);
    return world_agree(eval->world->comm, status ? status : closed, error);
}

static Status eval_here(const Arguments *arguments, const World *world, Log *log, Error *error)
{
    Eval eval = {.arguments = arguments, .world = world, .log = log};
    eval.threads = cores_threads(&world->cores, arguments->threads);
    Status status =
        world_agree(world->comm, dataset_open(&eval.dataset, arguments->data, arguments->split, error), error);
    if (!status) status = check_weights(&eval, error);
    if (!status) status = open_files(&eval, error);
    if (!status) {
        WorldReport report;
        world_report(world, arguments->threads, eval.threads, &report);
        if (report.warning[0]) log_write(log, LOG_WARNING, "%s", report.warning);
    }
    for (int i = 0; i <= arguments->more.count && !status; i++)
        status = eval_weights(&eval, weights_at(arguments, i), error);
    dataset_close(eval.dataset);
    return close_files(&eval, status, error);
}

Status tool_eval(int argc, char **argv, Error *error)
{
    Arguments arguments;
    Status status = eval_parse(argc, argv, &arguments, error);
    if (status || arguments.more.helped) return status;
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
