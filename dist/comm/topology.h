/* topology.h: which ranks share a node, and the communicators that follow from it.
 *
 *     flat     all ranks, node by node, so that a ring enters and leaves each node once
 *     node     the ranks of this node, which share memory
 *     across   one rank of each node: the leaders with the same local rank, node by node
 *
 * Each of the first `leaders` ranks of a node carries its share of the vector round a ring of its own between the
 * nodes; `leaders` is the size of the smallest node.
 */
#ifndef DIST_COMM_TOPOLOGY_H
#define DIST_COMM_TOPOLOGY_H

#include <mpi.h>
#include <stdbool.h>
#include "core/base/status.h"

typedef struct Topology {
    MPI_Comm flat, node, across; /* across: MPI_COMM_NULL when this rank is no leader */
    int rank, size;              /* in flat */
    int local_rank, local_size;
    int node_index, node_count;
    int leaders;
} Topology;

/* Collective over comm. ranks_per_node 0 takes the nodes as they are; otherwise each is cut into groups of that many
 * ranks, which then count as nodes: NUMA domains, or several nodes tried out on one machine.
 * The communicators return errors instead of aborting. */
Status topology_create(Topology *topology, MPI_Comm comm, int ranks_per_node, Error *error);
/* Collective: whether all ranks of comm are on one machine. */
bool topology_within_node(MPI_Comm comm);
void topology_free(Topology *topology); /* accepts a zeroed topology; collective */

#endif
