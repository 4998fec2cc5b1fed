#include "tools/progress_bar.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/base/clock.h"
#include "dist/monitor/log.h"

/* mpirun hands on a pipe; a Log knows whether a terminal is behind it. */
static bool is_terminal(void)
{
    Log log;
    Error ignored = {0};
    if (log_open(&log, 0, LOG_ERROR, &ignored)) return false;
    bool found = log_columns(&log) > 0;
    log_close(&log);
    return found;
}

Bar bar_begin(bool silent)
{
    return (Bar){.terminal = !silent && is_terminal(), .silent = silent};
}

static void bar_print(double share)
{
    enum { WIDTH = 30 };
    char cells[WIDTH + 1] = "";
    memset(cells, '.', WIDTH);
    memset(cells, '#', (size_t)(share * WIDTH));
    fprintf(stderr, "\r[%s] ", cells);
}

static void print_state(const Bar *bar, const BarState *state, double seconds)
{
    double share = state->total ? (double)state->done / (double)state->total : 1;
    double rate = seconds > 1e-3 ? (double)state->fresh / seconds : 0;
    long left = rate > 0 ? (long)((double)(state->total - state->done) / rate + 0.5) : 0;
    if (bar->terminal) bar_print(share);
    fprintf(stderr, "%5.1f %%  %" PRId64 "/%" PRId64 " images", 100 * share, state->done, state->total);
    if (rate > 0) fprintf(stderr, "  %.0f/s", rate);
    if (rate > 0 && state->bytes) fprintf(stderr, "  %.1f MB/s", (double)state->bytes / seconds / 1e6);
    if (state->kept) fprintf(stderr, "  %" PRId64 " kept", state->kept);
    if (state->bad) fprintf(stderr, "  %" PRId64 " %s", state->bad, state->bad_word);
    if (left) fprintf(stderr, "  %ld:%02ld:%02ld left", left / 3600, left / 60 % 60, left % 60);
    fputs(bar->terminal ? "\033[K" : "\n", stderr);
    if (bar->terminal && state->done == state->total) fputc('\n', stderr);
}

void bar_show(Bar *bar, const BarState *state)
{
    bool last = state->done == state->total;
    if (bar->silent || bar->ended || (!last && bar->calls++ % 16))
        return; /* the time costs more than an image header */
    bar->ended = last;
    if (bar->begin == 0) bar->begin = clock_seconds(); /* what was prepared before does not count */
    double seconds = clock_seconds() - bar->begin;
    if (!last && seconds - bar->last < (bar->terminal ? 0.2 : 30)) return;
    bar->last = seconds;
    print_state(bar, state, seconds);
}
