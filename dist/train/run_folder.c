#include "dist/train/run_folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/path.h"
#include "core/model/params.h"
#include "dist/checkpoint/checkpoint.h"

/* ---- what lies in the folder already */

static bool has(const char *folder, const char *name)
{
    char path[PATH_SIZE];
    return path_join(path, sizeof path, folder, name, &(Error){0}) == STATUS_OK && file_exists(path);
}

static Status count_checkpoints(const char *folder, int *count, Error *error)
{
    char path[PATH_SIZE];
    int64_t *steps;
    Status status = path_join(path, sizeof path, folder, "checkpoints", error);
    if (!status) status = checkpoint_list(path, &steps, count, error);
    if (!status) free(steps);
    return status;
}

/* Without a config.yaml nobody can tell whose these are. */
static Status refuse_strangers(const char *folder, Error *error)
{
    static const char *const NAMES[] = {"metrics.jsonl", "summary.csv", "checkpoints", "best.safetensors"};
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++)
        if (has(folder, NAMES[i]))
            return error_set(error, STATUS_USAGE,
                             "%s: holds %s but no config.yaml, so it is no folder to train in; choose another --output",
                             folder, NAMES[i]);
    return STATUS_OK;
}

/* Whether weights of one fit into the other. */
static bool same_shapes(const Config *config, const Config *was)
{
    ParamTable a = {0}, b = {0};
    Error ignored = {0};
    bool same = params_build(&a, &config->model, &ignored) == STATUS_OK &&
                params_build(&b, &was->model, &ignored) == STATUS_OK && a.count == b.count && a.size == b.size;
    for (int i = 0; same && i < a.count; i++)
        same = strcmp(a.items[i].name, b.items[i].name) == 0 &&
               memcmp(a.items[i].shape, b.items[i].shape, sizeof a.items[i].shape) == 0;
    params_free(&a);
    params_free(&b);
    return same;
}

static Status compare(Run *run, const Config *config, const char *config_path, bool resume, bool override, Error *error)
{
    Config was;
    int checkpoints;
    char differences[1200];
    Status status = config_load(&was, config_path, NULL, 0, error);
    if (status) return error_add(error, "  while reading the configuration of the run in %s", run->folder);
    status = count_checkpoints(run->folder, &checkpoints, error);
    if (status) return status;
    bool trained = checkpoints > 0;
    int count = config_differences(config, &was, false, differences, sizeof differences);
    if (count > 0 && trained && !override) {
        error_set(error, STATUS_USAGE, "%s: holds a run of another configuration, in which %d %s:\n%s", run->folder,
                  count, count == 1 ? "key differs" : "keys differ", differences);
        if (config->schedule.epochs != was.schedule.epochs)
            error_add(error,
                      "  epochs shapes the learning rate of every epoch, so a longer run is another run: start it from "
                      "these weights in a folder of its own, --set init_weights=%s/best.safetensors",
                      run->folder);
        return error_add(error, "  hint: choose another --output, give these keys the values they had, or take the new "
                                "ones from the next step on by --override");
    }
    if (trained && override && !same_shapes(config, &was))
        return error_set(error, STATUS_USAGE,
                         "%s: --override cannot change the shapes of the weights, as these do:\n%s", run->folder,
                         differences);
    if (trained && !resume)
        return error_set(
            error, STATUS_USAGE,
            "%s: holds this run already, with checkpoints; continue it by --resume auto, or choose another "
            "--output",
            run->folder);
    run->continues = count == 0;
    config_differences(config, &was, true, run->changes, sizeof run->changes);
    return STATUS_OK;
}

/* Files that are written under a temporary name first, which stays when the process is killed. */
static const char *const WRITTEN_WHOLE[] = {"config.yaml", "metrics.jsonl",    "summary.csv",
                                            "report.html", "best.safetensors", NULL};

Status run_open(Run *run, const char *folder, const Config *config, bool resume, bool override, Error *error)
{
    char path[sizeof run->folder]; /* so that a folder whose files do not fit does not fit either */
    *run = (Run){0};
    snprintf(run->folder, sizeof run->folder, "%s", folder);
    Status status = path_join(path, sizeof path, folder, "config.yaml", error);
    run->made = !file_exists(folder);
    run->fresh = !has(folder, "config.yaml");
    if (!status) status = file_make_folders(folder, error);
    if (!status && !has(folder, "config.yaml")) status = refuse_strangers(folder, error);
    if (!status) status = run_lock_take(&run->lock, run->folder, error);
    if (!status) file_sweep(folder, WRITTEN_WHOLE);
    if (!status && has(folder, "config.yaml")) status = compare(run, config, path, resume, override, error);
    if (!status) status = config_save(config, path, error);
    if (status) run_abandon(run);
    return status;
}

void run_abandon(Run *run)
{
    static const char *const MADE[] = {"config.yaml", "log.txt", "metrics.jsonl", "summary.csv", ".lock"};
    const bool ours = run->fresh && run->lock.taken;
    char path[PATH_SIZE];
    for (size_t i = 0; ours && i < sizeof MADE / sizeof MADE[0]; i++)
        if (path_join(path, sizeof path, run->folder, MADE[i], &(Error){0}) == STATUS_OK) unlink(path);
    if (run->made) rmdir(run->folder); /* only when it is empty */
    run_close(run);
}

void run_close(Run *run)
{
    run_lock_release(&run->lock);
    *run = (Run){0};
}
