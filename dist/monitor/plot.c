#include "dist/monitor/plot.h"

#include <math.h>
#include <stdlib.h>

#include "dist/monitor/html.h"

/* Viewbox units. */
enum { WIDTH = 560, HEIGHT = 250, LEFT = 82, RIGHT = 14, TOP = 12, BOTTOM = 42 };
enum { INNER_WIDTH = WIDTH - LEFT - RIGHT, INNER_HEIGHT = HEIGHT - TOP - BOTTOM };
enum { BUCKETS = 240, STRIPS = 120, LEAST_APART = 7 };

/* A series brought down to at most BUCKETS points. */
typedef struct Points {
    const char *name;
    double x[BUCKETS], y[BUCKETS];
    int count;
} Points;

typedef struct Chart {
    const Plot *plot;
    Points points[PLOT_SERIES];
    double x_min, x_max, y_min, y_max, y_step;
    bool cut; /* points lie above y_max */
} Chart;

static void reduce(const PlotSeries *series, Points *points)
{
    points->name = series->name;
    points->count = series->count < BUCKETS ? (int)series->count : BUCKETS;
    for (int i = 0; i < points->count; i++) {
        int64_t begin = i * series->count / points->count, end = (i + 1) * series->count / points->count;
        double x = 0, y = 0;
        for (int64_t j = begin; j < end; j++) {
            x += series->x[j] / (double)(end - begin);
            y += series->y[j] / (double)(end - begin);
        }
        points->x[i] = x;
        points->y[i] = isfinite(y) ? y : NAN;
    }
}

/* 1, 2 or 5 times a power of ten, so that about `ticks` of them span the range. */
static double nice_step(double span, int ticks)
{
    double rough = span / ticks, power = pow(10, floor(log10(rough))), digit = rough / power;
    return power * (digit <= 1 ? 1 : digit <= 2 ? 2 : digit <= 5 ? 5 : 10);
}

/* Of the points behind this share (0 .. 1) of each series' own length. */
static void find_extremes(Chart *chart, double share)
{
    chart->y_min = INFINITY;
    chart->x_max = chart->y_max = -INFINITY;
    for (int s = 0; s < chart->plot->count; s++) {
        const Points *points = &chart->points[s];
        const double from = points->count > 0 ? share * points->x[points->count - 1] : 0;
        for (int i = 0; i < points->count; i++) {
            if (isnan(points->y[i]) || points->x[i] < from) continue;
            chart->x_max = fmax(chart->x_max, points->x[i]);
            chart->y_min = fmin(chart->y_min, points->y[i]);
            chart->y_max = fmax(chart->y_max, points->y[i]);
        }
    }
}

static bool find_range(Chart *chart)
{
    chart->x_min = 0;
    find_extremes(chart, 0);
    if (!isfinite(chart->x_max)) return false;
    double highest = chart->y_max;
    if (chart->plot->shows_end) find_extremes(chart, 0.25);
    if (chart->plot->level > 0) {
        chart->y_min = fmin(chart->y_min, chart->plot->level);
        chart->y_max = fmax(chart->y_max, chart->plot->level);
    }
    if (chart->plot->from_zero) chart->y_min = fmin(chart->y_min, 0);
    if (chart->x_max <= chart->x_min) chart->x_max = chart->x_min + 1;
    /* Less than this between them is rounding, of which no steps can be made. */
    double size = fmax(fabs(chart->y_min), fabs(chart->y_max)), least = fmax(1e-12 * size, 1e-300);
    if (chart->y_max - chart->y_min < least) chart->y_max = chart->y_min + (size > 1e-200 ? size : 1);
    chart->y_step = nice_step(chart->y_max - chart->y_min, 5);
    chart->y_min = floor(chart->y_min / chart->y_step) * chart->y_step;
    chart->y_max = ceil(chart->y_max / chart->y_step) * chart->y_step;
    chart->cut = highest > chart->y_max;
    return true;
}

static double place_x(const Chart *chart, double x)
{
    return LEFT + INNER_WIDTH * (x - chart->x_min) / (chart->x_max - chart->x_min);
}

static double place_y(const Chart *chart, double y)
{
    return TOP + INNER_HEIGHT * (chart->y_max - y) / (chart->y_max - chart->y_min);
}

static void write_axes(FILE *out, const Chart *chart)
{
    int rows = (int)lround((chart->y_max - chart->y_min) / chart->y_step);
    for (int i = 0; i <= rows; i++) {
        double value = chart->y_min + i * chart->y_step, y = place_y(chart, value);
        if (fabs(value) < chart->y_step / 1000) value = 0;
        fprintf(out, "<path class=\"%s\" d=\"M%d %.1fh%d\"/>", i == 0 ? "axis" : "grid", LEFT, y, INNER_WIDTH);
        fprintf(out, "<text class=\"tick\" x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.5g</text>\n", LEFT - 6, y + 4,
                value);
    }
    double step = nice_step(chart->x_max - chart->x_min, 7);
    if (step < 1) step = 1; /* epochs and steps are whole */
    /* On a narrow screen, where text is larger, every other one is left out (class thin). */
    int index = 0;
    for (double value = ceil(chart->x_min / step) * step; value <= chart->x_max; value += step, index++)
        fprintf(out, "<text class=\"tick%s\" x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.8g</text>\n",
                index % 2 ? " thin" : "", place_x(chart, value), HEIGHT - BOTTOM + 18, value);
    fprintf(out, "<text class=\"tick\" x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n", WIDTH - RIGHT, HEIGHT - 4,
            chart->plot->x_name);
}

static void write_series(FILE *out, const Chart *chart, int s)
{
    const Points *points = &chart->points[s];
    bool pen_down = false;
    fprintf(out, "<path class=\"line s%d\" d=\"", s);
    for (int i = 0; i < points->count; i++) {
        if (!isnan(points->y[i])) /* what is cut off lies far enough above for the clipping, not farther */
            fprintf(out, "%c%.1f %.1f", pen_down ? 'L' : 'M', place_x(chart, points->x[i]),
                    fmax(place_y(chart, points->y[i]), -10 * HEIGHT));
        pen_down = !isnan(points->y[i]);
    }
    fprintf(out, "\"/>\n");
    double room =
        points->count > 1 ? place_x(chart, points->x[points->count - 1]) - place_x(chart, points->x[0]) : WIDTH;
    if (room < LEAST_APART * (points->count - 1)) return;
    for (int i = 0; i < points->count; i++)
        if (!isnan(points->y[i]) && points->y[i] <= chart->y_max)
            fprintf(out, "<circle class=\"dot s%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"2.5\"/>", s,
                    place_x(chart, points->x[i]), place_y(chart, points->y[i]));
    fputc('\n', out);
}

/* The drawn point nearest to x; -1: there is none. */
static int nearest_point(const Points *points, double x)
{
    int nearest = -1;
    for (int i = 0; i < points->count; i++) {
        if (isnan(points->y[i])) continue;
        if (nearest < 0 || fabs(points->x[i] - x) < fabs(points->x[nearest] - x)) nearest = i;
    }
    return nearest;
}

/* Invisible strips over the chart, whose <title> browsers show under the pointer. */
static void write_tooltips(FILE *out, const Chart *chart)
{
    int strips = 1;
    for (int s = 0; s < chart->plot->count; s++)
        if (chart->points[s].count > strips) strips = chart->points[s].count;
    if (strips > STRIPS) strips = STRIPS;
    double width = (double)INNER_WIDTH / strips;
    for (int i = 0; i < strips; i++) {
        double x = chart->x_min + (chart->x_max - chart->x_min) * (i + 0.5) / strips;
        fprintf(out, "<rect class=\"hover\" x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\"><title>", LEFT + i * width,
                TOP, width, INNER_HEIGHT);
        for (int s = 0; s < chart->plot->count; s++) {
            const Points *points = &chart->points[s];
            int nearest = nearest_point(points, x);
            if (nearest < 0) continue;
            fputs(s ? "\n" : "", out);
            html_text(out, points->name);
            fprintf(out, " at %s %.6g: %.5g %s", chart->plot->x_name, points->x[nearest], points->y[nearest],
                    chart->plot->unit);
        }
        fprintf(out, "</title></rect>\n");
    }
}

/* The level, and what happened when. */
static void write_marks(FILE *out, const Chart *chart)
{
    const Plot *plot = chart->plot;
    const int bottom = HEIGHT - BOTTOM;
    if (plot->level > 0)
        fprintf(out, "<path class=\"level\" d=\"M%d %.1fh%d\"/>\n", LEFT, place_y(chart, plot->level), INNER_WIDTH);
    for (int i = 0; i < plot->mark_count; i++) {
        const PlotMark *mark = &plot->marks[i];
        if (!(mark->x >= chart->x_min && mark->x <= chart->x_max)) continue;
        fprintf(out, "<path class=\"mark%s\" d=\"M%.1f %dV%d\"><title>", mark->start ? " start" : "",
                place_x(chart, mark->x), mark->start ? TOP : bottom - 5, bottom);
        html_text(out, mark->text);
        fprintf(out, "</title></path>\n");
    }
}

static void write_caption(FILE *out, const Chart *chart)
{
    const Plot *plot = chart->plot;
    fprintf(out, "<figure><figcaption><b>%s</b>%s%s", plot->title, plot->unit[0] ? ", " : "", plot->unit);
    for (int s = 0; s < plot->count && plot->count > 1; s++) {
        if (plot->series[s].count == 0) continue;
        fprintf(out, " <span class=\"key s%d\">", s);
        html_text(out, plot->series[s].name);
        fprintf(out, "</span>");
    }
    if (plot->level > 0) fprintf(out, " <span class=\"key none\">%s %.5g</span>", plot->level_name, plot->level);
    if (chart->cut) fprintf(out, " <span class=\"note\">the beginning is cut off</span>");
    fprintf(out, "</figcaption>\n");
}

void plot_write(FILE *out, const Plot *plot)
{
    Chart chart = {.plot = plot};
    for (int s = 0; s < plot->count; s++) reduce(&plot->series[s], &chart.points[s]);
    if (!find_range(&chart)) return;
    write_caption(out, &chart);
    fprintf(out, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">\n", WIDTH, HEIGHT, plot->title);
    write_axes(out, &chart);
    /* An inner <svg> clips what is cut off; its coordinates are the outer ones. */
    fprintf(out, "<svg x=\"0\" y=\"%d\" width=\"%d\" height=\"%d\" viewBox=\"0 %d %d %d\">\n", TOP - 4, WIDTH,
            HEIGHT - TOP + 4, TOP - 4, WIDTH, HEIGHT - TOP + 4);
    for (int s = 0; s < plot->count; s++) write_series(out, &chart, s);
    fprintf(out, "</svg>\n");
    write_tooltips(out, &chart);
    write_marks(out, &chart);
    fprintf(out, "</svg></figure>\n");
}
