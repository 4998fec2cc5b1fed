#include "dist/comm/topology.h"

#include "dist/comm/world.h"

/* MPI_Comm_split with errors that return. color MPI_UNDEFINED gives MPI_COMM_NULL. */
static Status split(MPI_Comm comm, int color, int key, MPI_Comm *part, Error *error)
{
    int code = MPI_Comm_split(comm, color, key, part);
    if (code != MPI_SUCCESS) return world_mpi_failed(code, "MPI_Comm_split", error);
    if (*part != MPI_COMM_NULL) MPI_Comm_set_errhandler(*part, MPI_ERRORS_RETURN);
    return STATUS_OK;
}

static Status find_node(Topology *topology, MPI_Comm comm, int ranks_per_node, Error *error)
{
    int rank, within;
    MPI_Comm shared;
    MPI_Comm_rank(comm, &rank);
    int code = MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &shared);
    if (code != MPI_SUCCESS) return world_mpi_failed(code, "MPI_Comm_split_type", error);
    MPI_Comm_rank(shared, &within);
    Status status = split(shared, ranks_per_node > 0 ? within / ranks_per_node : 0, within, &topology->node, error);
    MPI_Comm_free(&shared);
    if (status) return status;
    MPI_Comm_rank(topology->node, &topology->local_rank);
    MPI_Comm_size(topology->node, &topology->local_size);
    return STATUS_OK;
}

/* Numbers the nodes by their lowest rank in comm, and tells every rank. */
static Status number_nodes(Topology *topology, MPI_Comm comm, Error *error)
{
    int rank, node[2] = {0, 0};
    MPI_Comm_rank(comm, &rank);
    MPI_Comm firsts = MPI_COMM_NULL;
    Status status = split(comm, topology->local_rank == 0 ? 0 : MPI_UNDEFINED, rank, &firsts, error);
    if (status) return status;
    if (firsts != MPI_COMM_NULL) {
        MPI_Comm_rank(firsts, &node[0]);
        MPI_Comm_size(firsts, &node[1]);
        MPI_Comm_free(&firsts);
    }
    int code = MPI_Bcast(node, 2, MPI_INT, 0, topology->node);
    if (code == MPI_SUCCESS) code = MPI_Allreduce(&topology->local_size, &topology->leaders, 1, MPI_INT, MPI_MIN, comm);
    if (code != MPI_SUCCESS) return world_mpi_failed(code, "numbering the nodes", error);
    topology->node_index = node[0];
    topology->node_count = node[1];
    return STATUS_OK;
}

Status topology_create(Topology *topology, MPI_Comm comm, int ranks_per_node, Error *error)
{
    *topology = (Topology){.flat = MPI_COMM_NULL, .node = MPI_COMM_NULL, .across = MPI_COMM_NULL};
    Status status = find_node(topology, comm, ranks_per_node, error);
    if (!status) status = number_nodes(topology, comm, error);
    /* Ranks keep their order within a node (key ties go by rank in comm), and nodes theirs. */
    if (!status) status = split(comm, 0, topology->node_index, &topology->flat, error);
    bool is_leader = topology->local_rank < topology->leaders;
    if (!status)
        status = split(comm, is_leader ? topology->local_rank : MPI_UNDEFINED, topology->node_index, &topology->across,
                       error);
    if (status) {
        topology_free(topology);
        return status;
    }
    MPI_Comm_rank(topology->flat, &topology->rank);
    MPI_Comm_size(topology->flat, &topology->size);
    return STATUS_OK;
}

static void free_comm(MPI_Comm *comm)
{
    /* MPI does not promise that a zeroed MPI_Comm is MPI_COMM_NULL, so `size` tells whether a communicator was made. */
    if (*comm != MPI_COMM_NULL) MPI_Comm_free(comm);
}

void topology_free(Topology *topology)
{
    if (topology->local_size == 0) return;
    free_comm(&topology->flat);
    free_comm(&topology->node);
    free_comm(&topology->across);
    *topology = (Topology){0};
}

bool topology_within_node(MPI_Comm comm)
{
    MPI_Comm node;
    int ranks, together = 0;
    MPI_Comm_size(comm, &ranks);
    MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
    MPI_Comm_size(node, &together);
    MPI_Comm_free(&node);
    return together == ranks;
}
