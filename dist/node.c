#include "dist/node.h"

#include <stdlib.h>
#include <string.h>

#include "dist/wire.h"
#include "dist/world.h"

enum { LINE = 64, SUM_BLOCK = 4096 /* floats that stay in the first-level cache while all ranks are added */ };

static MPI_Aint align_up(MPI_Aint bytes)
{
    return (bytes + LINE - 1) / LINE * LINE;
}

/* A rank's segment: marks, gradient and, on the first rank, the sum. */
static void find_segment(Node *node, int rank, MPI_Aint marks_bytes, MPI_Aint grads_bytes)
{
    MPI_Aint size;
    int unit;
    char *base;
    MPI_Win_shared_query(node->window, rank, &size, &unit, &base);
    base = (char *)align_up((MPI_Aint)(intptr_t)base);
    node->marks[rank] = (_Atomic uint32_t *)base;
    node->grads[rank] = (float *)(base + marks_bytes);
    if (rank == 0) node->total = node->size > 1 ? (float *)(base + marks_bytes + grads_bytes) : node->grads[0];
}

Status node_create(Node *node, MPI_Comm comm, int64_t count, int buckets, Error *error)
{
    *node = (Node){.buckets = buckets};
    MPI_Comm_rank(comm, &node->rank);
    MPI_Comm_size(comm, &node->size);
    node->grads = calloc((size_t)node->size, sizeof *node->grads);
    node->marks = calloc((size_t)node->size, sizeof *node->marks);
    if (!node->grads || !node->marks) {
        node_free(node);
        return error_set(error, STATUS_FAILED, "no memory for the pointers of %d ranks", node->size);
    }

    MPI_Aint marks_bytes = align_up((MPI_Aint)NODE_MARKS * buckets * (MPI_Aint)sizeof(uint32_t));
    MPI_Aint grads_bytes = align_up((MPI_Aint)count * (MPI_Aint)sizeof(float));
    MPI_Aint bytes = LINE + marks_bytes + grads_bytes * (node->rank == 0 && node->size > 1 ? 2 : 1);
    MPI_Info info;
    MPI_Info_create(&info);
    MPI_Info_set(info, "alloc_shared_noncontig", "true"); /* each segment on pages of its own, near its rank */
    void *mine;
    int code = MPI_Win_allocate_shared(bytes, 1, info, comm, &mine, &node->window);
    MPI_Info_free(&info);
    if (code != MPI_SUCCESS) {
        node_free(node);
        world_mpi_failed(code, "MPI_Win_allocate_shared", error);
        return error_add(error,
                         "  while sharing %lld MB among the %d ranks of a node\n"
                         "  hint: is /dev/shm large enough (containers: --shm-size)? `allreduce: ring` does without",
                         (long long)(bytes * node->size >> 20), node->size);
    }
    node->open = true;
    MPI_Win_lock_all(MPI_MODE_NOCHECK, node->window);
    for (int rank = 0; rank < node->size; rank++) find_segment(node, rank, marks_bytes, grads_bytes);
    /* The total's pages go to whoever sums them first, which puts them near that rank. */
    memset(node->grads[node->rank], 0, (size_t)grads_bytes);
    for (int i = 0; i < NODE_MARKS * buckets; i++) atomic_init(&node->marks[node->rank][i], 0);
    MPI_Barrier(comm);
    return STATUS_OK;
}

void node_free(Node *node)
{
    if (node->open) {
        MPI_Win_unlock_all(node->window);
        MPI_Win_free(&node->window);
    }
    free(node->grads);
    free(node->marks);
    *node = (Node){0};
}

void node_mark(Node *node, NodeMark mark, int bucket, uint32_t step)
{
    atomic_store_explicit(&node->marks[node->rank][mark * node->buckets + bucket], step, memory_order_release);
}

bool node_all(const Node *node, NodeMark mark, int bucket, uint32_t step, int ranks, int *missing)
{
    for (int rank = 0; rank < ranks; rank++) {
        *missing = rank;
        if (atomic_load_explicit(&node->marks[rank][mark * node->buckets + bucket], memory_order_acquire) != step)
            return false;
    }
    return true;
}

void node_sum(Node *node, int64_t begin, int64_t end)
{
    if (node->size == 1) return; /* the gradient is the sum, in place */
    for (int64_t at = begin; at < end; at += SUM_BLOCK) {
        int64_t count = end - at < SUM_BLOCK ? end - at : SUM_BLOCK;
        wire_add2(node->total + at, node->grads[0] + at, node->grads[1] + at, count);
        for (int rank = 2; rank < node->size; rank++) wire_add(node->total + at, node->grads[rank] + at, count);
    }
}
