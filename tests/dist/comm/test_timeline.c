#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/command.h"

enum { RANKS = 3, STEPS = 2, TICKS = 1500, TRACKS = 3 };

/* Any viewer must be able to load it, and a track's events must not overlap. */
Test(timeline, one_file_holds_the_events_of_all_ranks)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/trace.json", temporary_folder());
    mpi_test(RANKS, "timeline", path);
    json_error_t where;
    json_t *root = json_load_file(path, 0, &where);
    cr_assert(root, "%s:%d: %s", path, where.line, where.text);

    int steps[RANKS] = {0}, ticks[RANKS] = {0}, shared[RANKS] = {0};
    double ends[RANKS][TRACKS] = {{0}};
    json_t *events = json_object_get(root, "traceEvents"), *event;
    size_t index;
    json_array_foreach(events, index, event)
    {
        if (strcmp(json_string_value(json_object_get(event, "ph")), "X") != 0) continue;
        const char *name = json_string_value(json_object_get(event, "name"));
        int rank = (int)json_integer_value(json_object_get(event, "pid"));
        int track = (int)json_integer_value(json_object_get(event, "tid"));
        double begin = json_number_value(json_object_get(event, "ts"));
        double duration = json_number_value(json_object_get(event, "dur"));
        cr_assert(rank >= 0 && rank < RANKS && track >= 0 && track < TRACKS);
        cr_assert_geq(duration, 0);
        cr_assert_geq(begin, ends[rank][track] - 0.01, "%s overlaps the event before it", name);
        ends[rank][track] = begin + duration;
        steps[rank] += strcmp(name, "step") == 0;
        ticks[rank] += strcmp(name, "tick") == 0;
        shared[rank] += strcmp(name, "local sync") == 0;
    }
    for (int rank = 0; rank < RANKS; rank++) {
        cr_assert_eq(steps[rank], STEPS);
        cr_assert_eq(ticks[rank], TICKS);
        cr_assert_eq(shared[rank], shared[0], "every rank ends every bucket");
        cr_assert_gt(shared[rank], 2 * STEPS);
    }
    json_decref(root);
}
