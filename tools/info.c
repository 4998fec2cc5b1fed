/* t2t info: what is this? A model's name, a weights file ... are told apart by looking. */
#include <stdio.h>

#include "core/base/file.h"
#include "dist/config/config.h"
#include "tools/args.h"
#include "tools/info.h"
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
    "       t2t info RUN RUN ...                           (side by side, with the settings that differ)\n"
    "       t2t info --models\n"
    "\n"
    "MODEL: a published model by name: its layers, shapes, parameters and multiply-accumulates (MACs) per image.\n"
    "FILE: a safetensors file: what is in it, and which model it is of.\n"
    "RUN: the folder of a training: where it stands, how long it still takes, what --resume would go on from, who "
    "computes it.\n"
    "DATASET: a folder that `t2t convert` made: splits, classes, sizes.\n"
    "\n";

static const char NOTES[] = "\nA weights file that t2t wrote is compared with the configuration in it, others with the "
                            "published models, or with "
                            "that\nof --config or --set.\n\nmodels:";

static void print_models(FILE *out)
{
    for (int i = 0; zoo_name(i); i++) fprintf(out, "%s%s", i % 6 ? " " : "\n  ", zoo_name(i));
    fputc('\n', out);
}

typedef struct Arguments {
    const char *subject; /* NULL: the model of --config */
    Settings settings;
    const char *contact_sheet;
    char **paths; /* all that was named */
    int count;
    bool tensors, classes, models, json, watch;
} Arguments;

static Status info_parse(int argc, char **argv, Arguments *arguments, Operands *operands, Error *error)
{
    const Arg args[] = {
        ARG_CONFIG(&arguments->settings, "a model of your own: the architecture keys of a configuration file"),
        ARG_SET(&arguments->settings, "a change to the model, e.g. --set img_size=384; may be repeated"),
        ARG_FLAG("tensors", &arguments->tensors, "list every tensor"),
        ARG_FLAG("classes", &arguments->classes, "list every class"),
        ARG_TEXT("contact-sheet", "F", &arguments->contact_sheet,
                 "draw images of a data set, as stored and as training sees them, into the PNG file F; training as a "
                 "RUN does it, "
                 "or by --config and --set"),
        ARG_FLAG("models", &arguments->models, "all published models: parameters, MACs, published top-1"),
        ARG_FLAG("watch", &arguments->watch, "a run: every two seconds anew, while it trains"),
        ARG_FLAG("json", &arguments->json, "one line of JSON"),
        {0},
    };
    const CommandLine line = {.name = "t2t info",
                              .usage = USAGE,
                              .notes = NOTES,
                              .args = args,
                              .most_operands = -1,
                              .more_help = print_models};
    Status status = args_parse(&line, argc, argv, operands, error);
    if (status || operands->helped) return status;
    arguments->paths = operands->items;
    arguments->count = operands->count;
    arguments->subject = operands->count ? operands->items[0] : NULL;
    if (arguments->watch && operands->count != 1) return error_set(error, STATUS_USAGE, "--watch wants one run folder");
    if (arguments->subject || arguments->settings.config || arguments->models) return STATUS_OK;
    return error_set(error, STATUS_USAGE, "what is to be described? See `t2t info --help`");
}

static InfoOptions options_of(const Arguments *arguments)
{
    return (InfoOptions){.tensors = arguments->tensors,
                         .classes = arguments->classes,
                         .contact_sheet = arguments->contact_sheet,
                         .json = arguments->json,
                         .watch = arguments->watch};
}

/* `name` is a zoo name or NULL; then --config or the defaults say which model the --set change. */
static Status load_config(const Arguments *arguments, const char *name, Config *config, Error *error)
{
    Settings settings = arguments->settings; /* which has no --model yet */
    Status status = name ? settings_model(&settings, name, error) : STATUS_OK;
    return status ? status : settings_load(&settings, config, error);
}

static Status describe_path(const Arguments *arguments, Error *error)
{
    InfoOptions options = options_of(arguments);
    Config config;
    if (arguments->settings.config || arguments->settings.count) {
        Status status = load_config(arguments, NULL, &config, error);
        if (status) return status;
        options.config = &config;
    }
    for (int i = 0; i < KIND_COUNT; i++)
        if (KINDS[i].is(arguments->subject)) return KINDS[i].describe(arguments->subject, &options, error);
    return error_set(error, STATUS_DATA,
                     "%s: no run (a folder with config.yaml), no data set (a folder with manifest.json), no weights "
                     "(*.safetensors)",
                     arguments->subject);
}

static Status describe_model(const Arguments *arguments, Error *error)
{
    InfoOptions options = options_of(arguments);
    Config config;
    if (arguments->subject && zoo_find(arguments->subject, &config.model, error) != STATUS_OK)
        return error_add(error, "  (nor is there a file or folder of that name)");
    Status status = load_config(arguments, arguments->subject, &config, error);
    return status ? status : info_model(&config.model, &options, error);
}

Status tool_info(int argc, char **argv, Error *error)
{
    Arguments arguments = {0};
    Operands operands;
    Status status = info_parse(argc, argv, &arguments, &operands, error);
    if (status || operands.helped) return status;
    InfoOptions options = options_of(&arguments);
    if (arguments.models) return info_models(&options, error);
    if (arguments.count > 1) return info_runs(arguments.paths, arguments.count, &options, error);
    bool is_path = arguments.subject && file_exists(arguments.subject);
    return is_path ? describe_path(&arguments, error) : describe_model(&arguments, error);
}
