/* t2t info: what is this? A model's name, a weights file ... are told apart by looking. */
#include <getopt.h>
#include <stdio.h>

#include "core/base/file.h"
#include "dist/config/config.h"
#include "tools/info.h"
#include "tools/options.h"
#include "tools/tools.h"

/* The first that recognises a path describes it. */
static const InfoKind KINDS[] = {
    {info_is_weights, info_weights},
    {info_is_run, info_run},
    {info_is_dataset, info_dataset},
};

enum { KIND_COUNT = sizeof KINDS / sizeof KINDS[0] };

static const char USAGE[] =
    "usage: t2t info MODEL|FILE|RUN|DATASET [options]\n"
    "\n"
    "MODEL: a published model by name: its layers, shapes, parameters and multiply-accumulates (MACs) per image.\n"
    "FILE: a safetensors file: what is in it, and which model it is of.\n"
    "RUN: the folder of a training: where it stands, how long it still takes, its checkpoints and whether they are "
    "whole.\n"
    "DATASET: a folder that `t2t convert` made: splits, classes, sizes.\n"
    "\n"
    "  --config FILE      a model of your own: the architecture keys of a configuration file\n"
    "  --set key=value    a change to the model, e.g. --set img_size=384; may be repeated\n"
    "  --tensors          list every tensor\n"
    "  --classes          list every class\n"
    "  --contact-sheet F  draw images of a data set, as stored and as training sees them, into the PNG file F\n"
    "\n"
    "With --config or --set a weights file is compared with that model instead of the published ones.\n"
    "\n"
    "models:";

static void print_usage(FILE *out)
{
    fputs(USAGE, out);
    for (int i = 0; zoo_name(i); i++) fprintf(out, "%s%s", i % 6 ? " " : "\n  ", zoo_name(i));
    fputc('\n', out);
}

typedef struct Arguments {
    const char *subject; /* NULL: the model of --config */
    Settings settings;
    const char *contact_sheet;
    bool tensors, classes, help;
} Arguments;

static Status parse(int argc, char **argv, Arguments *arguments, Error *error)
{
    static const struct option OPTIONS[] = {
        {"config", required_argument, NULL, 'c'},
        {"set", required_argument, NULL, 's'},
        {"tensors", no_argument, NULL, 't'},
        {"classes", no_argument, NULL, 'l'},
        {"contact-sheet", required_argument, NULL, 'i'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    for (int option; (option = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1;) {
        if (option == '?') return error_set(error, STATUS_USAGE, "see `t2t info --help`");
        if (settings_option(&arguments->settings, option, optarg, error)) return error->status;
        if (option == 't') arguments->tensors = true;
        if (option == 'l') arguments->classes = true;
        if (option == 'i') arguments->contact_sheet = optarg;
        if (option == 'h') arguments->help = true;
    }
    if (argc > optind + 1) return error_set(error, STATUS_USAGE, "one thing at a time: %s", argv[optind + 1]);
    arguments->subject = argv[optind];
    if (arguments->help || arguments->subject || arguments->settings.config) return STATUS_OK;
    return error_set(error, STATUS_USAGE, "what is to be described? See `t2t info --help`");
}

/* `name` is a zoo name or NULL; then --config or the defaults say which model the --set change. */
static Status load_model(const Arguments *arguments, const char *name, ModelConfig *model, Error *error)
{
    Config config;
    Settings settings = arguments->settings; /* which has no --model yet */
    Status status = name ? settings_option(&settings, 'm', name, error) : STATUS_OK;
    if (!status) status = settings_load(&settings, &config, error);
    if (!status) *model = config.model;
    return status;
}

static Status describe_path(const Arguments *arguments, Error *error)
{
    InfoOptions options = {
        .tensors = arguments->tensors, .classes = arguments->classes, .contact_sheet = arguments->contact_sheet};
    ModelConfig model;
    if (arguments->settings.config || arguments->settings.count) {
        Status status = load_model(arguments, NULL, &model, error);
        if (status) return status;
        options.model = &model;
    }
    for (int i = 0; i < KIND_COUNT; i++)
        if (KINDS[i].is(arguments->subject)) return KINDS[i].describe(arguments->subject, &options, error);
    return error_set(error, STATUS_DATA, "%s: neither of the things that `t2t info --help` lists", arguments->subject);
}

static Status describe_model(const Arguments *arguments, Error *error)
{
    InfoOptions options = {.tensors = arguments->tensors};
    ModelConfig model;
    if (arguments->subject && zoo_find(arguments->subject, &model, error) != STATUS_OK)
        return error_add(error, "  (nor is there a file or folder of that name)");
    Status status = load_model(arguments, arguments->subject, &model, error);
    return status ? status : info_model(&model, &options, error);
}

Status tool_info(int argc, char **argv, Error *error)
{
    Arguments arguments = {0};
    Status status = parse(argc, argv, &arguments, error);
    if (status) return status;
    if (arguments.help) {
        print_usage(stdout);
        return STATUS_OK;
    }
    bool is_path = arguments.subject && file_exists(arguments.subject);
    return is_path ? describe_path(&arguments, error) : describe_model(&arguments, error);
}
