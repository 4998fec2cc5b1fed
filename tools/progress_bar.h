/* progress_bar.h: how far a long task is: a bar on a terminal, a line every half minute in a log. */
#ifndef TOOLS_PROGRESS_BAR_H
#define TOOLS_PROGRESS_BAR_H

#include <stdbool.h>
#include <stdint.h>

typedef struct Bar {
    bool terminal, silent;
    bool ended; /* the last state is shown */
    int64_t calls;
    double begin; /* of the first bar_show */
    double last;  /* seconds after begin */
} Bar;

typedef struct BarState {
    int64_t done, total; /* images */
    int64_t fresh;       /* of those done, the ones that took time: rate and ETA are theirs */
    int64_t bytes;       /* 0: not shown */
    int64_t kept, bad;   /* 0: not shown */
    const char *bad_word;
} BarState;

Bar bar_begin(bool silent);
void bar_show(Bar *bar, const BarState *state); /* often; prints now and then, and when done reaches total */

#endif
