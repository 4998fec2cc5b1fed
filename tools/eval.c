/* t2t eval: top-1, top-5 and loss of weights on a data set. Alone, or as every rank of an mpirun or srun. */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "dist/comm/world.h"
#include "dist/train/evaluate.h"
#include "tools/inference_model.h"
#include "tools/tools.h"

static const char USAGE[] =
    "usage: t2t eval --data DIR --weights FILE [--option value ...]\n"
    "       mpirun -np N t2t eval ...                      (shares the images; every one counts exactly once)\n\n"
    "  --data DIR        a converted data set\n"
    "  --weights FILE    safetensors; what t2t train wrote knows its model and image size\n"
    "  --model NAME      the published model of weights from elsewhere\n"
    "  --config FILE     or any other, by a configuration file\n"
    "  --set key=value   a change, such as img_size=384 or crop_pct=1.0; may be repeated\n"
    "  --split NAME      val (default) or train\n"
    "  --batch N         images at a time on each rank (64)\n"
    "  --threads N       of each rank (default: the processors that it may use)\n"
    "  --json            one line of JSON\n";

typedef struct Arguments {
    ClassifierSource source;
    const char *data, *split;
    int batch, threads;
    bool json, help;
} Arguments;

static Status parse(int argc, char **argv, Arguments *arguments, Error *error)
{
    static const struct option OPTIONS[] = {
        {"data", required_argument, NULL, 'd'},
        {"weights", required_argument, NULL, 'w'},
        {"model", required_argument, NULL, 'm'},
        {"config", required_argument, NULL, 'c'},
        {"set", required_argument, NULL, 's'},
        {"split", required_argument, NULL, 'p'},
        {"batch", required_argument, NULL, 'b'},
        {"threads", required_argument, NULL, 't'},
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    *arguments = (Arguments){.split = "val", .batch = 64};
    optind = 1;
    for (int option; (option = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1;) {
        Status status = STATUS_OK;
        switch (option) {
        case 'd':
            arguments->data = optarg;
            break;
        case 'p':
            arguments->split = optarg;
            break;
        case 'b':
            status = option_int("batch", optarg, 1, 65536, &arguments->batch, error);
            break;
        case 't':
            status = option_int("threads", optarg, 0, 65536, &arguments->threads, error);
            break;
        case 'j':
            arguments->json = true;
            break;
        case 'h':
            arguments->help = true;
            return STATUS_OK;
        case '?':
            return error_set(error, STATUS_USAGE, "see `t2t eval --help`");
        default:
            status = classifier_option(&arguments->source, option, optarg, error);
        }
        if (status) return status;
    }
    if (optind < argc)
        return error_set(error, STATUS_USAGE, "'%s' is not expected; see `t2t eval --help`", argv[optind]);
    if (!arguments->data) return error_set(error, STATUS_USAGE, "--data DIR is missing; see `t2t eval --help`");
    return STATUS_OK;
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

static void print_result(const Arguments *arguments, const Evaluation *result)
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
    Status status = classifier_open(&classifier, &arguments->source, error);
    if (!status) status = classifier_prepare(&classifier, arguments->batch, arguments->threads, error);
    if (!status) status = dataset_open(&dataset, arguments->data, arguments->split, error);
    status = world_agree(world->comm, status, error);
    if (status) goto release;
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
    status = evaluate(&config, &classifier.model, 1, &result, error);
    if (!status && world->rank == 0) print_result(arguments, &result);
release:
    dataset_close(dataset);
    classifier_close(&classifier);
    return status;
}

Status tool_eval(int argc, char **argv, Error *error)
{
    Arguments arguments;
    Status status = parse(argc, argv, &arguments, error);
    if (status) return status;
    if (arguments.help) {
        fputs(USAGE, stdout);
        return STATUS_OK;
    }
    World world;
    Log log;
    status = world_start(&world, error);
    if (!status) status = log_open(&log, world.rank, LOG_INFO, error);
    if (!status) {
        status = eval_here(&arguments, &world, &log, error);
        if (world.rank != 0) error->message[0] = 0; /* the ranks agree, and rank 0 tells */
        log_close(&log);
    }
    world_end(&world);
    return status;
}
