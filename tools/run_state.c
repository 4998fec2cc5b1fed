#include "tools/run_state.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/base/file.h"
#include "core/base/memory.h"
#include "core/base/path.h"
#include "data/dataset/manifest.h"
#include "dist/train/run_folder.h"

static const double SILENCE = 120; /* seconds: a run that trains writes lines more often than that, mostly */

bool run_state_is_run(const char *folder)
{
    char config[CHECKPOINT_PATH];
    Error none = {0};
    return path_join(config, sizeof config, folder, "config.yaml", &none) == STATUS_OK && file_exists(config);
}

const char *run_phase_name(RunPhase phase)
{
    static const char *const NAMES[] = {"not begun", "training", "done", "stopped"};
    return NAMES[phase];
}

/* ---- checkpoints */

static RunCheckpoint look_at(const char *path, int64_t step, bool verify)
{
    RunCheckpoint found = {.position = {.step = step}};
    Checkpoint checkpoint;
    Error problem = {0};
    Status status = (verify ? checkpoint_open : checkpoint_open_unverified)(&checkpoint, path, &problem);
    if (status) {
        snprintf(found.problem, sizeof found.problem, "%.500s", problem.message);
        return found;
    }
    found.whole = true;
    found.position = checkpoint.position;
    snprintf(found.code, sizeof found.code, "%s", checkpoint.code);
    for (int i = 0; i < checkpoint.count; i++) found.bytes += checkpoint.files[i].bytes;
    checkpoint_close(&checkpoint);
    return found;
}

static Status read_checkpoints(RunState *state, bool verify, Error *error)
{
    char folder[CHECKPOINT_PATH], path[CHECKPOINT_PATH];
    int64_t *steps;
    Status status = path_join(folder, sizeof folder, state->folder, "checkpoints", error);
    if (!status) status = checkpoint_list(folder, &steps, &state->count, error);
    if (status) return status;
    state->checkpoints = memory_alloc(state->count, sizeof *state->checkpoints, "the list of checkpoints", error);
    if (!state->checkpoints) status = STATUS_FAILED;
    int found = 0;
    for (int i = 0; !status && i < state->count; i++) {
        checkpoint_path(path, folder, steps[i]);
        RunCheckpoint checkpoint = look_at(path, steps[i], verify);
        if (!checkpoint.whole && !file_exists(path)) continue; /* a run that goes on has pruned it meanwhile */
        state->checkpoints[found] = checkpoint;
        if (checkpoint.whole && !state->resumable) state->resumable = &state->checkpoints[found];
        found++;
    }
    state->count = found;
    free(steps);
    return status;
}

/* ---- where it stands */

/* Steps of all epochs, from the size of the data set; 0 when that is not there. */
static int64_t steps_from_data(const Config *config, int64_t epochs)
{
    Manifest manifest;
    Error none = {0};
    int64_t steps = 0;
    if (!config->data[0] || manifest_read(&manifest, config->data, &none)) return 0;
    for (int i = 0; i < manifest.split_count; i++)
        if (strcmp(manifest.splits[i].name, "train") == 0)
            steps = manifest.splits[i].count / config->batch_size * epochs;
    manifest_free(&manifest);
    return steps;
}

static bool said_its_end(const MetricsHistory *history)
{
    return history->events > 0 && history->event[history->events - 1].kind == RUN_ENDED;
}

static void find_phase(RunState *state)
{
    const RunSummary *summary = &state->summary;
    const bool held = run_lock_held(state->folder);
    state->age = (double)time(NULL) - summary->last;
    if (state->age < 0) state->age = 0;
    if (held)
        state->phase = RUN_TRAINING;
    else if (summary->epochs_done >= summary->epochs)
        state->phase = RUN_DONE;
    else
        state->phase = summary->step == 0 && state->count == 0 ? RUN_NOT_BEGUN : RUN_STOPPED;
    state->maybe_elsewhere = state->phase == RUN_STOPPED && state->age < SILENCE && !said_its_end(&state->history);
}

Status run_state_read(RunState *state, const char *folder, bool verify, Error *error)
{
    char config_path[CHECKPOINT_PATH], metrics_path[CHECKPOINT_PATH];
    *state = (RunState){.age = NAN};
    snprintf(state->folder, sizeof state->folder, "%s", folder);
    Status status = path_join(config_path, sizeof config_path, folder, "config.yaml", error);
    if (!status) status = path_join(metrics_path, sizeof metrics_path, folder, "metrics.jsonl", error);
    if (!status) status = config_load(&state->config, config_path, NULL, 0, error);
    if (!status && file_exists(metrics_path)) status = metrics_read(&state->history, folder, error);
    if (status) return status;
    state->summary = run_summarise(&state->config, &state->history);
    if (state->summary.total_steps == 0)
        state->summary.total_steps = steps_from_data(&state->config, state->summary.epochs);
    status = read_checkpoints(state, verify, error);
    find_phase(state);
    if (state->resumable && state->summary.step > state->resumable->position.step)
        state->steps_again = state->summary.step - state->resumable->position.step;
    if (status) run_state_free(state);
    return status;
}

void run_state_free(RunState *state)
{
    metrics_history_free(&state->history);
    free(state->checkpoints);
    *state = (RunState){0};
}
