/* watchdog.h: ends a job whose collective operation has stopped moving, and says who is missing.
 *
 *     watchdog_begin(&watchdog, "sum of gradients");       // a new operation; all ranks count them alike
 *     while (!done) {
 *         bool moved = ...;                                // poll
 *         watchdog_progress(&watchdog, moved, bucket);
 *         if (watchdog_overdue(&watchdog)) watchdog_report_missing(&watchdog, neighbour);
 *     }
 *
 * Reports: a rank that has been stuck for half of the time tells ranks 0 and 1 in which operation. When the time is
 * over, rank 0 prints the operation and the ranks that have not reported it, and aborts the job; if it cannot (it is
 * the missing one), rank 1 does so a little later, and last every other rank, which then knows only its neighbour.
 *
 * No thread of its own: the one that polls MPI also watches, so there is never a second one inside MPI.
 */
#ifndef DIST_COMM_WATCHDOG_H
#define DIST_COMM_WATCHDOG_H

#include <mpi.h>
#include <stdbool.h>
#include <stdint.h>
#include "core/base/status.h"

enum { WATCHDOG_COLLECTORS = 2 };

typedef struct Watchdog {
    MPI_Comm comm; /* a copy of the caller's: its ranks are those printed */
    int rank, size;
    double seconds; /* 0: never overdue */

    const char *operation;
    int64_t number;    /* operations begun, the same on all ranks */
    int bucket;        /* -1: none */
    double last_moved; /* time of the last progress */
    bool reported;
    int64_t sent[WATCHDOG_COLLECTORS]; /* the reports under way */
    MPI_Request reports[WATCHDOG_COLLECTORS];
    int64_t *last_report; /* collectors: [rank] -> the operation it last reported */
} Watchdog;

/* Collective; fails on all ranks or on none. */
Status watchdog_create(Watchdog *watchdog, MPI_Comm comm, double seconds, Error *error);
void watchdog_free(Watchdog *watchdog); /* accepts a zeroed watchdog; collective */

void watchdog_begin(Watchdog *watchdog, const char *operation /* a literal */);
void watchdog_progress(Watchdog *watchdog, bool moved, int bucket);
bool watchdog_overdue(const Watchdog *watchdog); /* cheap */
/* Reports that this rank is stuck; returns while there is hope, and aborts the job when there is none. `waits_for`: the rank that this
 * one needs to hear from, -1 when unknown. */
void watchdog_report_missing(Watchdog *watchdog, int waits_for);

/* Polls a request of a collective operation to its end. */
Status watchdog_wait(Watchdog *watchdog, MPI_Request *request, const char *operation, Error *error);

#endif
