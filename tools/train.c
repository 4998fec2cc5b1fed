/* t2t train: from a configuration to weights. Alone, or as every rank of an mpirun or srun. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/path.h"
#include "core/base/printable.h"
#include "core/base/shell_words.h"
#include "dist/comm/world.h"
#include "dist/monitor/provenance.h"
#include "dist/train/dry_run.h"
#include "dist/train/signals.h"
#include "dist/train/trainer.h"
#include "tools/args.h"
#include "tools/tools.h"

static const char USAGE[] =
    "usage: mpirun -np N t2t train CONFIG.yaml [--set key=value]... [--output DIR] [--resume auto|DIR]\n\n"
    "Trains a model on N ranks and validates it after each epoch. The same batch_size gives the same result on any "
    "N.\n\n";

static const char NOTES[] =
    "\n"
    "USR1, USR2, TERM and Ctrl-C drop the step under way, write a checkpoint of the one before and end the run with "
    "status\n"
    "75; another one a second later ends it at once. Open MPI's mpirun hands USR1 and USR2 on, and ends with 75 too. "
    "Ctrl-C\n"
    "and TERM it answers in its own way: its ranks get TERM after a second and KILL after another, and its status is "
    "1.\n"
    "A checkpoint that takes longer to write is then lost, the one before stays. OMPI_MCA_odls_base_sigkill_timeout=10 "
    "in\n"
    "its environment makes each of the two 10 seconds; `kill -USR1 $(pidof mpirun)` has no such limit.\n\n"
    "Settings:\n";

typedef struct Arguments {
    Settings settings;
    TrainOptions options;
    char output[1024];                /* the default one */
    char command[PROVENANCE_COMMAND]; /* what was typed */
    bool debug, schema, dry_run;
} Arguments;

static void default_output(Arguments *arguments)
{
    const char *name = arguments->settings.config ? arguments->settings.config : "run";
    const char *slash = strrchr(name, '/');
    if (slash) name = slash + 1;
    int length = (int)strcspn(name, ".");
    snprintf(arguments->output, sizeof arguments->output, "runs/%.*s", length < 900 ? length : 900, name);
    arguments->options.output = arguments->output;
}

static Status train_parse(int argc, char **argv, Arguments *arguments, Operands *operands, Error *error)
{
    TrainOptions *options = &arguments->options;
    const Arg args[] = {
        ARG_SET(&arguments->settings, "overrides the file; as often as needed"),
        ARG_TEXT("output", "DIR", &options->output, "the run folder (default: runs/ and the name of CONFIG)"),
        ARG_TEXT("resume", "auto|DIR", &options->resume,
                 "auto: go on from the newest good checkpoint in the run folder; begin when there is none. "
                 "DIR: go on from that checkpoint, or from the newest of that run"),
        ARG_FLAG("override", &options->override,
                 "let a resumed run have other settings than it had, from its next step on: more epochs, say, "
                 "whose learning rates then follow the new schedule"),
        ARG_TEXT("samples", "FILE", &options->samples, "rank R appends to FILE.R which images each step saw"),
        ARG_TEXT("timeline", "FILE", &options->timeline,
                 "what all ranks do when, for chrome://tracing or ui.perfetto.dev"),
        ARG_FLAG("schema", &arguments->schema,
                 "print a JSON schema of the settings, by which editors check CONFIG.yaml"),
        ARG_FLAG("dry-run", &arguments->dry_run,
                 "print every setting, steps, parameters and memory of a rank, check the data set; write nothing"),
        ARG_FLAG("debug", &arguments->debug, "tell more"),
        {0},
    };
    const CommandLine line = {.name = "t2t train",
                              .usage = USAGE,
                              .notes = NOTES,
                              .args = args,
                              .most_operands = -1,
                              .more_help = config_describe};
    Status status = args_parse(&line, argc, argv, operands, error);
    if (status || operands->helped || arguments->schema) return status;
    if (operands->count > 1)
        return error_set(error, STATUS_USAGE, "one CONFIG.yaml is expected, found %s and %s", operands->items[0],
                         operands->items[1]);
    arguments->settings.config = operands->count ? operands->items[0] : NULL;
    if (!arguments->settings.config && !arguments->settings.count)
        return error_set(error, STATUS_USAGE, "a CONFIG.yaml is expected; see `t2t train --help`");
    if (!options->output) default_output(arguments);
    return STATUS_OK;
}

/* argv as one line, for the record; args_parse sorts its words, so before it. */
static void join_command(Arguments *arguments, int argc, char **argv)
{
    static const char NAME[] = "t2t ";
    memcpy(arguments->command, NAME, sizeof NAME);
    shell_join(arguments->command + strlen(NAME), sizeof arguments->command - strlen(NAME), argc,
               (const char *const *)argv);
    arguments->options.command = arguments->command;
}

/* Names of folders as a shell and a terminal take them. */
static void report(const Arguments *arguments, const Config *config, const TrainResult *result)
{
    const char *output = arguments->options.output;
    const RunPosition *position = &result->position;
    char path[PATH_SIZE], data[4 * sizeof config->data + 8], weights[4 * PATH_SIZE + 8], shown[4 * PATH_SIZE];
    if (result->was_done)
        printf("%s: this run is done: %" PRId64 " epochs.\n", printable(shown, sizeof shown, output), position->epoch);
    snprintf(path, sizeof path, "%.*s/best.safetensors", PATH_SIZE - 32, output);
    shell_join(data, sizeof data, 1, (const char *const[]){config->data});
    shell_join(weights, sizeof weights, 1, (const char *const[]){path});
    printable(shown, sizeof shown, output);
    if (position->best_epoch >= 0)
        printf("best top-1 %.2f %% after epoch %" PRId64 " (%s)\nweights    %s/best.safetensors\n", position->best_top1,
               position->best_epoch + 1, config->optim.ema_decay > 0 ? "averaged weights" : "raw weights", shown);
    printf("next       t2t eval --data %s --weights %s\n"
           "           t2t predict --weights %s IMAGE...\n"
           "report     %s/report.html\n",
           data, weights, weights, shown);
}

static Status train_here(const Arguments *arguments, const World *world, Error *error)
{
    Log log;
    Config config;
    TrainResult result;
    Status status = log_open(&log, world->rank, arguments->debug ? LOG_DEBUG : LOG_INFO, error);
    if (status) return status;
    status = settings_load(&arguments->settings, &config, error);
    if (!status && !arguments->dry_run && !config.data[0])
        status = error_set(error, STATUS_USAGE,
                           "data: missing%s%s: which data set to train on, a folder that `t2t convert` made\n"
                           "  hint: --set data=DIR, or a line `data: DIR` in the configuration",
                           arguments->settings.config ? " in " : "",
                           arguments->settings.config ? arguments->settings.config : "");
    if (!status && arguments->dry_run && world->rank == 0) status = dry_run(&config, world->size, stdout, error);
    status = world_agree(world->comm, status, error);
    if (arguments->dry_run) {
        if (status && world->rank == 0) log_write(&log, LOG_ERROR, "%s", error->message);
        log_close(&log);
        return status;
    }
    if (!status) status = signals_catch(error);
    if (!status) status = train(world, &log, &config, &arguments->options, &result, error);
    if (status && status != STATUS_STOPPED && world->rank == 0) log_write(&log, LOG_ERROR, "%s", error->message);
    log_close(&log);
    if (world->rank == 0 && status == STATUS_OK) report(arguments, &config, &result);
    if (world->rank == 0 && status == STATUS_STOPPED)
        printf("stopped at step %" PRId64 " with a checkpoint; the same command with --resume auto goes on\n",
               result.position.step);
    return status;
}

Status tool_train(int argc, char **argv, Error *error)
{
    Arguments arguments = {0};
    Operands operands;
    join_command(&arguments, argc, argv);
    Status status = train_parse(argc, argv, &arguments, &operands, error);
    if (status || operands.helped) return status;
    if (arguments.schema) {
        config_schema(stdout);
        return STATUS_OK;
    }
    World world;
    status = world_start(&world, error);
    if (!status) {
        status = train_here(&arguments, &world, error);
        /* Rank 0 has told it, in the log too; the ranks agree on every failure. */
        error->message[0] = 0;
    }
    world_end(&world);
    return status;
}
