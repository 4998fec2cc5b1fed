#include "dist/monitor/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/base/clock.h"

static const double DRAW_INTERVAL = 0.1; /* seconds between rewritings of the status line */

void progress_duration(double seconds, char *text, size_t size)
{
    static const double MOST = 86400e6; /* a million days; speeds of almost 0 give more than an integer holds */
    int64_t whole = !(seconds > 0) ? 0 : (int64_t)((seconds < MOST ? seconds : MOST) + 0.5);
    if (whole >= 86400)
        snprintf(text, size, "%" PRId64 "d %02" PRId64 "h", whole / 86400, whole % 86400 / 3600);
    else if (whole >= 3600)
        snprintf(text, size, "%" PRId64 "h %02" PRId64 "m", whole / 3600, whole % 3600 / 60);
    else if (whole >= 60)
        snprintf(text, size, "%" PRId64 "m %02" PRId64 "s", whole / 60, whole % 60);
    else
        snprintf(text, size, "%" PRId64 "s", whole);
}

void progress_date(double seconds, char *text, size_t size)
{
    time_t whole = (time_t)seconds;
    struct tm local;
    localtime_r(&whole, &local);
    strftime(text, size, "%Y-%m-%d %H:%M:%S", &local);
}

void progress_begin(Progress *progress, Log *log, const ProgressPlan *plan, int64_t first_step)
{
    *progress = (Progress){.log = log, .plan = *plan, .first_step = first_step, .began = clock_seconds()};
}

/* ---- an interval */

static void clear_interval(Progress *progress)
{
    progress->steps = progress->images = 0;
    progress->loss = progress->grad_norm = progress->seconds = progress->data_wait = progress->comm_wait = 0;
}

static TrainRecord interval_record(const Progress *progress)
{
    double steps = (double)progress->steps, seconds = progress->seconds > 0 ? progress->seconds : 1e-9;
    return (TrainRecord){
        .step = progress->last.step,
        .epoch = progress->last.epoch,
        .loss = progress->loss / steps,
        .lr = progress->last.lr,
        .grad_norm = progress->grad_norm / steps,
        .images_per_s = (double)progress->images / seconds,
        .data_wait = progress->data_wait / seconds,
        .comm_wait = progress->comm_wait / seconds,
    };
}

/* ---- what is shown */

static void eta_text(const Progress *progress, int64_t step, char *text, size_t size)
{
    /* Wall time per step since the start, so that validation and checkpoints are in it. */
    double per_step = (clock_seconds() - progress->began) / (double)(step - progress->first_step);
    progress_duration(per_step * (double)(progress->plan.total_steps - step), text, size);
}

#define PLACE "epoch %" PRId64 "/%" PRId64 " step %" PRId64 "/%" PRId64 " "

/* A line of the batch log; `brief` for the status line, most of which should fit 80 columns. */
static void describe(const Progress *progress, const TrainRecord *record, bool brief, char *line, size_t size)
{
    const ProgressPlan *plan = &progress->plan;
    char eta[32];
    eta_text(progress, record->step, eta, sizeof eta);
    snprintf(line, size,
             brief ? PLACE "loss %.3f lr %.2g %.0f img/s eta %s data %.0f%% net %.0f%%"
                   : PLACE "loss %.4f lr %.4g %.1f img/s eta %s wait: data %.1f%% net %.1f%%",
             record->epoch + 1, plan->epochs, record->step, plan->total_steps, record->loss, record->lr,
             record->images_per_s, eta, 100 * record->data_wait, 100 * record->comm_wait);
}

/* The text, then a bar of done / total in what is left of the line. */
static void draw(Progress *progress, const char *text, int64_t done, int64_t total)
{
    enum { LEAST = 6, MOST = 40 };
    char line[512], bar[MOST + 1];
    if (total < 1) total = 1;
    if (done > total) done = total;
    int cells = log_columns(progress->log) - (int)strlen(text) - (int)strlen(" [] 100%");
    if (cells > MOST) cells = MOST;
    progress->drawn = clock_seconds();
    if (cells < LEAST) {
        log_status(progress->log, text);
        return;
    }
    memset(bar, '-', (size_t)cells);
    memset(bar, '#', (size_t)(cells * done / total));
    bar[cells] = '\0';
    snprintf(line, sizeof line, "%s [%s] %3d%%", text, bar, (int)(100 * done / total));
    log_status(progress->log, line);
}

static bool interval_ends(const Progress *progress)
{
    const ProgressPlan *plan = &progress->plan;
    int64_t step = progress->last.step;
    return step % plan->interval == 0 || step % plan->epoch_steps == 0 || step == plan->total_steps;
}

bool progress_step(Progress *progress, const StepStats *stats, TrainRecord *record)
{
    progress->last = *stats;
    progress->steps++;
    progress->images += stats->images;
    progress->loss += stats->loss;
    progress->grad_norm += stats->grad_norm;
    progress->seconds += stats->seconds;
    progress->data_wait += stats->data_wait;
    progress->comm_wait += stats->comm_wait;
    *record = interval_record(progress);
    bool ends = interval_ends(progress);
    char line[400];
    if (log_columns(progress->log) > 0 && (ends || clock_seconds() - progress->drawn >= DRAW_INTERVAL)) {
        describe(progress, record, true, line, sizeof line);
        draw(progress, line, progress->last.step, progress->plan.total_steps);
    }
    if (!ends) return false;
    describe(progress, record, false, line, sizeof line);
    log_progress(progress->log, line);
    clear_interval(progress);
    return true;
}

bool progress_flush(Progress *progress, TrainRecord *record)
{
    if (progress->steps == 0) return false;
    *record = interval_record(progress);
    clear_interval(progress);
    return true;
}

void progress_validate(Progress *progress, int64_t epoch)
{
    progress->validating = epoch;
    progress->validation_began = clock_seconds();
}

void progress_validation(Progress *progress, int64_t done, int64_t total)
{
    double now = clock_seconds();
    if (log_columns(progress->log) == 0 || (done < total && now - progress->drawn < DRAW_INTERVAL)) return;
    char line[160], left[32];
    progress_duration((now - progress->validation_began) * (double)(total - done) / (double)(done > 0 ? done : 1), left,
                      sizeof left);
    snprintf(line, sizeof line, "epoch %" PRId64 "/%" PRId64 " validating %" PRId64 "/%" PRId64 " eta %s",
             progress->validating + 1, progress->plan.epochs, done, total, left);
    draw(progress, line, done, total);
}

void progress_validated(Progress *progress, const ValidationRecord *record)
{
    char ema[96] = "";
    if (record->has_ema)
        snprintf(ema, sizeof ema, ", ema: top1 %.2f top5 %.2f loss %.4f", record->top1_ema, record->top5_ema,
                 record->loss_ema);
    log_write(progress->log, LOG_INFO,
              "epoch %" PRId64 " validated on %" PRId64 " images: top1 %.2f top5 %.2f loss %.4f%s", record->epoch + 1,
              record->count, record->top1, record->top5, record->loss, ema);
}

void progress_end(Progress *progress)
{
    log_status(progress->log, "");
}
