/* plot.h: a line chart as an <svg> element, with a title tooltip under the pointer and no script.
 *
 * Colours come from the page's style sheet: classes s0, s1, s2 (series), axis, grid, hover.
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

enum { PLOT_SERIES = 3 };

typedef struct PlotSeries {
    const char *name;
    const double *x; /* rising, from 0 or more; the axis begins at 0 */
    const double *y; /* NAN leaves a gap */
    int64_t count;
} PlotSeries;

typedef struct Plot {
    const char *title, *unit, *x_name;
    bool from_zero; /* the y axis begins at 0 */
    PlotSeries series[PLOT_SERIES];
    int count;
} Plot;

/* Writes nothing when no series has a finite point. Series longer than the chart is wide are averaged. */
void plot_write(FILE *out, const Plot *plot);

#endif
