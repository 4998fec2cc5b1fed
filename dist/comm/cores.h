/* cores.h: which of a node's cores its ranks may use, and how many threads each rank has.
 *
 * A launcher may bind each rank to cores of its own, or bind none, so that all ranks of a node may use the same ones.
 * Then they divide these: every rank would otherwise start as many threads as there are cores.
 */
#ifndef DIST_COMM_CORES_H
#define DIST_COMM_CORES_H

#include <mpi.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct NodeCores { /* processors as Linux counts them, unless said otherwise */
    int own;               /* in this process's affinity mask */
    int sharing;           /* ranks of this node with the same mask, this one included */
    int joint;             /* in the masks of all ranks of this node together */
    int usable;            /* cores, each once however many threads it runs at a time, that the job has on this node,
                            * whatever its ranks are bound to */
} NodeCores;

/* Collective over the ranks of a node. */
void cores_find(MPI_Comm node, NodeCores *cores);

/* What `threads` of a configuration means here: 0: this rank's part of the cores, at least one; else at most as many as
 * the process may use. */
int cores_threads(const NodeCores *cores, int wanted);

/* What is wrong with `threads` of this rank and `node_threads` of all ranks of the node, and what to do, in `message`;
 * "": nothing. host: for the message. leads: whether this rank tells what concerns the whole node. */
void cores_problem(const NodeCores *cores, int wanted, int threads, int node_threads, const char *host, bool leads,
                   char *message, size_t room);

/* "0-3,8": the affinity mask. */
void cores_print(char *text, size_t room);

#endif
