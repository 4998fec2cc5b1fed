/* world.h: starting and ending MPI, and who is where.
 *
 *     World world = {0};
 *     Status status = world_start(&world, error);          // MPI_Init_thread
 *     ...
 *     world_end(&world);                                   // MPI_Finalize
 *
 * MPI is asked for MPI_THREAD_SERIALIZED: during a step only the reducer calls it, otherwise only the main thread.
 *
 * World's communicator, and what world_split makes of it, keep MPI's own error handler: a call that fails there ends the
 * job with MPI's message, so that the code of a small collective needs no look. The communicators of topology.h and of
 * the watchdog return codes, which are looked at: a sum that breaks tells bucket and rank, and lets a checkpoint be kept.
 */
#ifndef DIST_COMM_WORLD_H
#define DIST_COMM_WORLD_H

#include <mpi.h>
#include <stdbool.h>
#include <stddef.h>
#include "core/base/status.h"
#include "dist/comm/cores.h"

typedef struct World {
    bool started;
    MPI_Comm comm; /* all ranks; a part of them may go on with a copy that has its own */
    int rank, size;
    int local_rank, local_size; /* among the ranks of this node */
    int node_index, node_count; /* nodes count from the one of rank 0 */
    NodeCores cores;
    char host[MPI_MAX_PROCESSOR_NAME];
} World;

/* STATUS_FAILED when MPI lacks what is needed, and when this process stands alone though the launcher's environment
 * speaks of several: then N separate runs would overwrite each other's files. */
Status world_start(World *world, Error *error);
void world_end(World *world); /* accepts a zeroed world */

typedef struct WorldReport { /* texts for the log; "": nothing to say */
    char line[1024];         /* on rank 0: ranks, nodes, cores and threads */
    char warning[1024];      /* on any rank: what cores_problem says of its threads */
} WorldReport;
void world_report(const World *world, int wanted, int threads, WorldReport *report); /* collective */

/* What the environment `get` (getenv) says of ranks when MPI itself counts `size`: NULL when that agrees, else what is
 * wrong and how to launch instead, in `message`. */
const char *world_launch_problem(int size, char *(*get)(const char *), char *message, size_t room);

/* Collective: the failure of one rank is that of all, with the message of the lowest one. */
Status world_agree(MPI_Comm comm, Status status, Error *error);

void world_barrier(MPI_Comm comm);                 /* all ranks have arrived */
double world_largest(double value, MPI_Comm comm); /* of all ranks' */
double world_sum(double value, MPI_Comm comm);

void world_broadcast(void *data, size_t bytes, MPI_Comm comm); /* rank 0's go to all */

/* Collective: a communicator for each group, its ranks in their order. world_split_free gives it back. */
Status world_split(MPI_Comm comm, int group, MPI_Comm *part, Error *error);
void world_split_free(MPI_Comm *part);

/* STATUS_FAILED with MPI's text for `code`, and what was being done. */
Status world_mpi_failed(int code, const char *doing, Error *error);

#endif
