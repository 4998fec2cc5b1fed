/* plot.h: a line chart as an <svg> element, with a title tooltip under the pointer and no script.
 *
 * Colours come from the page's style sheet (html.c): classes s0 .. s7 (series), axis, grid, hover, mark, level.
 *
 *     Plot plot = {.title = "Top-1", .unit = "%", .x_name = "epoch"};
 *     plot.series[plot.count++] = (PlotSeries){"weights", x, y, n};
 *     plot_write(out, &plot);
 */
#ifndef DIST_MONITOR_PLOT_H
#define DIST_MONITOR_PLOT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { PLOT_SERIES = 8 };

typedef struct PlotSeries {
    const char *name;
    const double *x; /* rising, from 0 or more; the axis begins at 0 */
    const double *y; /* NAN leaves a gap */
    int64_t count;
} PlotSeries;

typedef struct PlotMark { /* something that happened at x */
    double x;
    bool start; /* a line over the whole height; else a stroke at the axis */
    char text[64];
} PlotMark;

typedef struct Plot {
    const char *title, *unit, *x_name;
    bool from_zero; /* the y axis begins at 0 */
    bool shows_end; /* the y axis is for what comes after the first quarter of each series: what was above is cut off */
    double level;   /* a line across, where it is more than 0 */
    const char *level_name;
    const PlotMark *marks;
    int mark_count;
    PlotSeries series[PLOT_SERIES];
    int count;
} Plot;

/* Writes nothing when no series has a finite point. Series longer than the chart is wide are averaged. */
void plot_write(FILE *out, const Plot *plot);

#endif
