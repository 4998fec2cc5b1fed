#include "dist/comm/watchdog.h"

#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/memory.h"
#include "dist/comm/world.h"

enum { TAG_REPORT = 1, NAMES_SHOWN = 16, PASS_ON_MICROSECONDS = 200000 };

Status watchdog_create(Watchdog *watchdog, MPI_Comm comm, double seconds, Error *error)
{
    *watchdog = (Watchdog){.seconds = seconds, .bucket = -1};
    for (int i = 0; i < WATCHDOG_COLLECTORS; i++) watchdog->reports[i] = MPI_REQUEST_NULL;
    int size;
    MPI_Comm_size(comm, &size);
    watchdog->last_report = memory_alloc(size, sizeof *watchdog->last_report, "the ranks' reports", error);
    Status status = world_agree(comm, watchdog->last_report ? STATUS_OK : STATUS_FAILED, error);
    if (!status) {
        int code = MPI_Comm_dup(comm, &watchdog->comm);
        if (code != MPI_SUCCESS) status = world_mpi_failed(code, "MPI_Comm_dup", error);
    }
    if (status) {
        free(watchdog->last_report);
        *watchdog = (Watchdog){0};
        return status;
    }
    MPI_Comm_set_errhandler(watchdog->comm, MPI_ERRORS_RETURN);
    MPI_Comm_rank(watchdog->comm, &watchdog->rank);
    watchdog->size = size;
    return STATUS_OK;
}

/* Takes in the reports that have come. */
static void take_reports(Watchdog *watchdog)
{
    for (;;) {
        int waiting = 0;
        MPI_Status from;
        MPI_Iprobe(MPI_ANY_SOURCE, TAG_REPORT, watchdog->comm, &waiting, &from);
        if (!waiting) return;
        MPI_Recv(&watchdog->last_report[from.MPI_SOURCE], 1, MPI_INT64_T, from.MPI_SOURCE, TAG_REPORT, watchdog->comm,
                 MPI_STATUS_IGNORE);
    }
}

void watchdog_free(Watchdog *watchdog)
{
    if (watchdog->size == 0) return;
    /* False alarms may have left reports that nobody took in. */
    MPI_Barrier(watchdog->comm);
    take_reports(watchdog);
    for (int to = 0; to < WATCHDOG_COLLECTORS; to++) MPI_Wait(&watchdog->reports[to], MPI_STATUS_IGNORE);
    MPI_Comm_free(&watchdog->comm);
    free(watchdog->last_report);
    *watchdog = (Watchdog){0};
}

void watchdog_begin(Watchdog *watchdog, const char *operation)
{
    watchdog->number++;
    watchdog->operation = operation;
    watchdog_progress(watchdog, true, -1);
}

void watchdog_progress(Watchdog *watchdog, bool moved, int bucket)
{
    if (!moved) return;
    watchdog->bucket = bucket;
    watchdog->last_moved = clock_seconds();
    watchdog->reported = false;
}

static double stuck_for(const Watchdog *watchdog)
{
    return clock_seconds() - watchdog->last_moved;
}

bool watchdog_overdue(const Watchdog *watchdog)
{
    return watchdog->seconds > 0 && stuck_for(watchdog) > watchdog->seconds / 2;
}

static void report_stall(Watchdog *watchdog)
{
    watchdog->reported = true;
    watchdog->last_report[watchdog->rank] = watchdog->number;
    for (int to = 0; to < WATCHDOG_COLLECTORS && to < watchdog->size; to++) {
        int gone = 0;
        if (to == watchdog->rank) continue;
        MPI_Test(&watchdog->reports[to], &gone, MPI_STATUS_IGNORE);
        if (!gone) continue; /* an earlier report has not even left: nobody would read this one */
        watchdog->sent[to] = watchdog->number;
        MPI_Isend(&watchdog->sent[to], 1, MPI_INT64_T, to, TAG_REPORT, watchdog->comm, &watchdog->reports[to]);
    }
}

/* ---- the end */

/* "3, 5, 6": the ranks that have not reported this operation; returns how many they are. */
static int list_missing(const Watchdog *watchdog, char *text, size_t room)
{
    int missing = 0;
    size_t used = 0;
    text[0] = 0;
    for (int rank = 0; rank < watchdog->size; rank++) {
        if (watchdog->last_report[rank] >= watchdog->number) continue; /* it may already be in the next one */
        if (missing < NAMES_SHOWN)
            used += (size_t)snprintf(text + used, room - used, "%s%d", missing ? ", " : "", rank);
        else if (missing == NAMES_SHOWN)
            snprintf(text + used, room - used, " and more");
        missing++;
    }
    return missing;
}

/* What a collector knows of the others. */
static void describe_missing(const Watchdog *watchdog, char *text, size_t room)
{
    char missing[16 * NAMES_SHOWN];
    int count = list_missing(watchdog, missing, sizeof missing);
    if (count > 0)
        snprintf(text, room, "t2t: watchdog: missing rank%s %s: dead, cut off or too slow; all others have arrived\n",
                 count > 1 ? "s" : "", missing);
    else
        snprintf(text, room, "t2t: watchdog: all ranks have arrived, so a link between them must be at fault\n");
}

/* One message in one piece, and time for the launcher to pass it on: MPICH's stops listening as soon as it hears of the
 * end. */
static void give_up(const Watchdog *watchdog, int waits_for)
{
    char bucket[32] = "", neighbour[64] = "", others[512] = "", text[1024];
    if (watchdog->bucket >= 0) snprintf(bucket, sizeof bucket, ", bucket %d", watchdog->bucket);
    if (waits_for >= 0) snprintf(neighbour, sizeof neighbour, "; this rank waits for rank %d", waits_for);
    if (watchdog->rank < WATCHDOG_COLLECTORS) describe_missing(watchdog, others, sizeof others);
    snprintf(text, sizeof text,
             "t2t: watchdog on rank %d: no progress for %.0f s in operation %" PRId64 ", %s%s%s\n%s"
             "t2t: watchdog: ending the job; it resumes from its last checkpoint (config: watchdog)\n",
             watchdog->rank, stuck_for(watchdog), watchdog->number, watchdog->operation, bucket, neighbour, others);
    fputs(text, stderr);
    fflush(stderr);
    usleep(PASS_ON_MICROSECONDS);
    MPI_Abort(MPI_COMM_WORLD, STATUS_FAILED);
}

void watchdog_report_missing(Watchdog *watchdog, int waits_for)
{
    if (!watchdog->reported) report_stall(watchdog);
    take_reports(watchdog);
    double margin = watchdog->seconds / 4 < 2 ? watchdog->seconds / 4 : 2;
    int turn = watchdog->rank < WATCHDOG_COLLECTORS ? watchdog->rank : WATCHDOG_COLLECTORS;
    if (stuck_for(watchdog) > watchdog->seconds + turn * margin) give_up(watchdog, waits_for);
}

Status watchdog_wait(Watchdog *watchdog, MPI_Request *request, const char *operation, Error *error)
{
    watchdog_begin(watchdog, operation);
    for (;;) {
        int over = 0;
        int code = MPI_Test(request, &over, MPI_STATUS_IGNORE);
        if (code != MPI_SUCCESS) return world_mpi_failed(code, operation, error);
        if (over) return STATUS_OK;
        if (watchdog_overdue(watchdog)) watchdog_report_missing(watchdog, -1);
        sched_yield();
    }
}
