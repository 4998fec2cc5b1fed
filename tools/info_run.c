/* t2t info RUN: where a training stands, and its checkpoints. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/base/file.h"
#include "dist/checkpoint/checkpoint.h"
#include "dist/monitor/metrics.h"
#include "dist/monitor/progress.h"
#include "dist/train/run_folder.h"
#include "dist/monitor/summary.h"
#include "tools/info.h"

enum { PATH = CHECKPOINT_PATH };

bool info_is_run(const char *path)
{
    char config[PATH];
    Error none = {0};
    return run_path(config, sizeof config, path, "config.yaml", &none) == STATUS_OK && file_exists(config);
}

/* ---- where it stands */

static void print_best(const char *name, double top1, double epoch)
{
    if (!isnan(top1)) printf("%-14s%.2f %% top-1, after epoch %.0f\n", name, top1, epoch + 1);
}

static void print_summary(const RunSummary *summary, const char *state)
{
    printf("%-14s%s\n", "state", state);
    if (summary->step == 0) return;
    printf("%-14s%" PRId64, "step", summary->step);
    if (summary->total_steps > 0)
        printf(" of %" PRId64 ", %.1f %%", summary->total_steps,
               100 * (double)summary->step / (double)summary->total_steps);
    printf("\n%-14s%" PRId64 " of %" PRId64 " validated\n", "epochs", summary->epochs_done, summary->epochs);
    printf("%-14s%.4f in the last interval\n", "training loss", summary->loss);
    print_best("best weights", summary->best_top1, summary->best_epoch);
    print_best("best EMA", summary->best_ema, summary->best_ema_epoch);
    printf("%-14s%.1f images/s (median); waiting for data %.1f %%, for the network %.1f %% of the time\n", "speed",
           summary->images_per_s, 100 * summary->data_wait, 100 * summary->comm_wait);
    if (!(summary->seconds_left > 0)) return;
    char left[32];
    progress_duration(summary->seconds_left, left, sizeof left);
    printf("%-14s%s of training at that speed\n", "left", left);
}

static const char *state_of(const char *folder, const RunSummary *summary)
{
    if (run_lock_held(folder)) return "training now";
    if (summary->epochs_done >= summary->epochs) return "done";
    return "stopped; the same command with --resume auto continues it";
}

/* ---- its checkpoints */

static void print_checkpoint(const char *path, int64_t step, int64_t epochs)
{
    Checkpoint checkpoint;
    Error problem = {0};
    printf("  step %-10" PRId64, step);
    fflush(stdout); /* proving takes a while: every byte is read */
    if (checkpoint_open(&checkpoint, path, &problem)) {
        printf("damaged: %s\n", problem.message);
        return;
    }
    uint64_t bytes = 0;
    for (int i = 0; i < checkpoint.count; i++) bytes += checkpoint.files[i].bytes;
    const RunPosition *position = &checkpoint.position;
    printf("whole, %.1f MB; ", (double)bytes * 1e-6);
    if (position->epoch >= epochs)
        printf("the end of the run");
    else
        printf("epoch %" PRId64 ", %" PRId64 " steps into it", position->epoch + 1, position->epoch_step);
    printf("; written by %s\n", checkpoint.code);
    checkpoint_close(&checkpoint);
}

static Status print_checkpoints(const char *folder, int64_t epochs, Error *error)
{
    char checkpoints[PATH], path[PATH];
    int64_t *steps;
    int count;
    Status status = run_path(checkpoints, sizeof checkpoints, folder, "checkpoints", error);
    if (!status) status = checkpoint_list(checkpoints, &steps, &count, error);
    if (status) return status;
    printf("\ncheckpoints, newest first%s\n", count ? "" : ": none yet");
    for (int i = 0; i < count; i++) {
        checkpoint_path(path, checkpoints, steps[i]);
        print_checkpoint(path, steps[i], epochs);
    }
    free(steps);
    return STATUS_OK;
}

Status info_run(const char *path, const InfoOptions *options, Error *error)
{
    (void)options;
    char config_path[PATH], metrics_path[PATH];
    Config config;
    MetricsHistory history = {0};
    Status status = run_path(config_path, sizeof config_path, path, "config.yaml", error);
    if (!status) status = run_path(metrics_path, sizeof metrics_path, path, "metrics.jsonl", error);
    if (!status) status = config_load(&config, config_path, NULL, 0, error);
    if (!status && file_exists(metrics_path)) status = metrics_read(&history, path, error);
    if (status) return status;
    char model[128];
    config_describe_model(&config, model, sizeof model);
    printf("run of %s, at %d pixels, %d classes, global batch %" PRId64 "\n\n", model, config.model.img_size,
           config.model.num_classes, config.batch_size);
    RunSummary summary = run_summarise(&config, &history);
    print_summary(&summary, state_of(path, &summary));
    metrics_history_free(&history);
    return print_checkpoints(path, summary.epochs, error);
}
