/* t2t info RUN: where a training stands, and its checkpoints. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/base/printable.h"
#include "dist/monitor/progress.h"
#include "tools/info.h"
#include "tools/json_output.h"
#include "tools/run_state.h"

enum { DATE = 32, DURATION = 32, WATCH_SECONDS = 2, WATCH_PATIENCE = 60 };

bool info_is_run(const char *path)
{
    return run_state_is_run(path);
}

static const char *date_text(double seconds, char text[DATE])
{
    progress_date(seconds, text, DATE);
    return text;
}

static const char *duration_text(double seconds, char text[DURATION])
{
    progress_duration(seconds, text, DURATION);
    return text;
}

/* ---- where it stands */

static void print_state_line(const RunState *state)
{
    char age[DURATION];
    duration_text(state->age, age);
    printf("%-14s", "state");
    switch (state->phase) {
    case RUN_TRAINING:
        printf("training now");
        if (!isnan(state->age)) printf("; last line %s ago", age);
        break;
    case RUN_DONE:
        printf("done");
        break;
    case RUN_NOT_BEGUN:
        printf("not begun: no step is recorded, and there is no checkpoint");
        break;
    case RUN_STOPPED:
        if (state->resumable)
            printf("stopped; the same command with --resume auto goes on");
        else
            printf("stopped, and nothing to resume: %s",
                   state->count ? "no checkpoint is whole" : "there is no checkpoint");
        if (state->maybe_elsewhere) printf(" (or training where this machine sees no lock: last line %s ago)", age);
    }
    putchar('\n');
}

static void print_resume(const RunState *state)
{
    if (!state->resumable || state->phase == RUN_DONE) return;
    const RunPosition *position = &state->resumable->position;
    printf("%-14sfrom step %" PRId64, "resume", position->step);
    if (state->summary.total_steps > 0) printf(" of %" PRId64, state->summary.total_steps);
    printf(": epoch %" PRId64 ", %" PRId64 " steps into it; ", position->epoch + 1, position->epoch_step);
    if (state->steps_again > 0)
        printf("%" PRId64 " recorded step%s would be done again\n", state->steps_again,
               state->steps_again == 1 ? "" : "s");
    else
        printf("no recorded step would be done again\n");
}

static void print_times(const RunState *state)
{
    const RunSummary *summary = &state->summary;
    char began[DATE], last[DATE], span[DURATION];
    if (isnan(summary->began)) return;
    printf("%-14s%s; last line %s, %s later\n", "began", date_text(summary->began, began),
           date_text(summary->last, last), duration_text(summary->last - summary->began, span));
    if (summary->starts == 0) return;
    printf("%-14s%" PRId64 ", %s core-hours in all\n", "starts", summary->starts,
           core_hours_text(summary->core_hours, span));
}

static void print_best(const char *name, double top1, double epoch)
{
    if (!isnan(top1)) printf("%-14s%.2f %% top-1, after epoch %.0f\n", name, top1, epoch + 1);
}

static void print_left(const RunState *state)
{
    char left[DURATION], when[DATE];
    double seconds = state->summary.seconds_left;
    if (!(seconds > 0) || state->phase == RUN_DONE) return;
    printf("%-14s%s of training at that speed", "left", duration_text(seconds, left));
    if (state->phase == RUN_TRAINING && seconds < 1e9)
        printf(": until about %s", date_text((double)time(NULL) + seconds - state->age, when));
    putchar('\n');
}

static void print_summary(const RunState *state)
{
    const RunSummary *summary = &state->summary;
    print_state_line(state);
    print_resume(state);
    print_times(state);
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
    print_left(state);
}

/* ---- its checkpoints */

static void print_checkpoint(const RunState *state, const RunCheckpoint *checkpoint)
{
    const RunPosition *position = &checkpoint->position;
    char text[2048];
    printf("  step %-10" PRId64, position->step);
    if (!checkpoint->whole) {
        printf("damaged: %s\n", printable_lines(text, sizeof text, checkpoint->problem));
        return;
    }
    printf("whole, %.1f MB; ", (double)checkpoint->bytes * 1e-6);
    if (position->epoch >= state->summary.epochs)
        printf("the end of the run");
    else
        printf("epoch %" PRId64 ", %" PRId64 " steps into it", position->epoch + 1, position->epoch_step);
    printf("; written by %s\n", printable(text, sizeof text, checkpoint->code));
}

static void print_text_line(void *context, const char *name, const char *value)
{
    char text[4 * PROVENANCE_COMMAND];
    (void)context;
    printf("%-14s%s\n", name, printable(text, sizeof text, value));
}

static void print_run(const RunState *state)
{
    char model[128];
    config_describe_model(&state->config, model, sizeof model);
    printf("run of %s, at %d pixels, %d classes, global batch %" PRId64 "\n\n", model, state->config.model.img_size,
           state->config.model.num_classes, state->config.batch_size);
    print_summary(state);
    if (state->history.provenance.version[0]) putchar('\n');
    provenance_each(&state->history.provenance, print_text_line, NULL);
    printf("\ncheckpoints, newest first%s\n", state->count ? "" : ": none");
    for (int i = 0; i < state->count; i++) print_checkpoint(state, &state->checkpoints[i]);
}

/* ---- JSON */

static json_t *json_checkpoints(const RunState *state)
{
    json_t *list = json_array();
    for (int i = 0; i < state->count; i++) {
        const RunCheckpoint *checkpoint = &state->checkpoints[i];
        json_array_append_new(list, json_pack("{sI sb sI so}", "step", (json_int_t)checkpoint->position.step, "whole",
                                              checkpoint->whole, "bytes", (json_int_t)checkpoint->bytes, "problem",
                                              json_words(checkpoint->whole ? NULL : checkpoint->problem)));
    }
    return list;
}

static void add_text(void *context, const char *name, const char *value)
{
    json_object_set_new(context, name, json_words(value));
}

json_t *info_run_json(const RunState *state)
{
    const RunSummary *summary = &state->summary;
    char *provenance = provenance_json(&state->history.provenance);
    json_t *object = json_object();
    json_object_set_new(object, "kind", json_string("run"));
    add_text(object, "path", state->folder);
    add_text(object, "model", state->config.model.name);
    add_text(object, "state", run_phase_name(state->phase));
    const struct {
        const char *name;
        int64_t value; /* below 0: null */
    } counts[] = {{"resumable_step", state->resumable ? state->resumable->position.step : -1},
                  {"step", summary->step},
                  {"total_steps", summary->total_steps > 0 ? summary->total_steps : -1},
                  {"steps_again", state->steps_again},
                  {"epochs_validated", summary->epochs_done},
                  {"epochs", summary->epochs},
                  {"best_epoch", isnan(summary->best_epoch) ? -1 : (int64_t)summary->best_epoch + 1},
                  {"best_epoch_ema", isnan(summary->best_ema_epoch) ? -1 : (int64_t)summary->best_ema_epoch + 1},
                  {"starts", summary->starts}};
    const struct {
        const char *name;
        double value;
    } figures[] = {{"train_loss", summary->loss},
                   {"best_top1", summary->best_top1},
                   {"best_top1_ema", summary->best_ema},
                   {"images_per_s", summary->images_per_s},
                   {"data_wait", summary->data_wait},
                   {"comm_wait", summary->comm_wait},
                   {"seconds_left", summary->seconds_left},
                   {"began", summary->began},
                   {"last", summary->last},
                   {"core_hours", summary->core_hours}};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        json_object_set_new(object, counts[i].name, counts[i].value < 0 ? json_null() : json_integer(counts[i].value));
    for (size_t i = 0; i < sizeof figures / sizeof figures[0]; i++)
        json_object_set_new(object, figures[i].name, json_figure(figures[i].value));
    bool known = provenance && state->history.provenance.version[0];
    json_object_set_new(object, "provenance", known ? json_loads(provenance, 0, NULL) : json_null());
    json_object_set_new(object, "checkpoints", json_checkpoints(state));
    free(provenance);
    return object;
}

/* ---- */

static Status show(const char *path, const InfoOptions *options, bool *goes_on, Error *error)
{
    RunState state;
    Status status = run_state_read(&state, path, !options->watch, error);
    if (status) return status;
    if (options->watch && isatty(STDOUT_FILENO)) fputs("\033[H\033[2J", stdout);
    if (options->json)
        json_print(info_run_json(&state));
    else
        print_run(&state);
    fflush(stdout);
    status = info_contact_sheet(state.config.data, &state.config, options, error);
    *goes_on = state.phase == RUN_TRAINING || (state.maybe_elsewhere && state.age < WATCH_PATIENCE);
    run_state_free(&state);
    return status;
}

Status info_run(const char *path, const InfoOptions *options, Error *error)
{
    bool goes_on = true;
    Status status = show(path, options, &goes_on, error);
    while (!status && options->watch && goes_on) {
        sleep(WATCH_SECONDS);
        if (!isatty(STDOUT_FILENO)) putchar('\n');
        status = show(path, options, &goes_on, error);
    }
    return status;
}
