#include "dist/comm/intranode.h"

#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "dist/comm/compression.h"
#include "dist/comm/world.h"

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

/* Whether /dev/shm, which backs shared windows, has room for everybody's. It must be asked before: Open MPI notices the
 * lack on one rank only and lets the others wait for ever. Collective: all get the same answer. */
static Status check_room(MPI_Comm comm, int64_t bytes, Error *error)
{
    int64_t figures[2] = {0, INT64_MAX}; /* needed, available */
    struct statvfs info;
    int code = MPI_Allreduce(&bytes, &figures[0], 1, MPI_INT64_T, MPI_SUM, comm);
    if (statvfs("/dev/shm", &info) == 0) figures[1] = (int64_t)info.f_bavail * (int64_t)info.f_frsize;
    if (code == MPI_SUCCESS) code = MPI_Bcast(figures, 2, MPI_INT64_T, 0, comm);
    if (code != MPI_SUCCESS) return world_mpi_failed(code, "asking for shared memory", error);
    if (figures[0] <= figures[1]) return STATUS_OK;
    return error_set(error, STATUS_FAILED,
                     "the ranks of a node need %lld MB of shared memory, but /dev/shm has %lld MB free\n"
                     "  hint: make it larger (containers: --shm-size), or set `allreduce: ring`, which does without",
                     (long long)(figures[0] >> 20), (long long)(figures[1] >> 20));
}

/* The window. Where only some ranks of a node got it, they leave it where it is: freeing it would wait for the
 * others. */
static Status open_window(Node *node, MPI_Comm comm, MPI_Aint bytes, Error *error)
{
    MPI_Info info;
    MPI_Info_create(&info);
    MPI_Info_set(info, "alloc_shared_noncontig", "true"); /* each segment on pages of its own, near its rank */
    void *mine;
    int code = MPI_Win_allocate_shared(bytes, 1, info, comm, &mine, &node->window);
    MPI_Info_free(&info);
    Status status = code == MPI_SUCCESS ? STATUS_OK : world_mpi_failed(code, "MPI_Win_allocate_shared", error);
    status = world_agree(comm, status, error);
    if (status != STATUS_OK) return status;
    node->open = true;
    MPI_Win_lock_all(MPI_MODE_NOCHECK, node->window);
    return STATUS_OK;
}

Status node_create(Node *node, MPI_Comm comm, int64_t count, int buckets, Error *error)
{
    *node = (Node){.buckets = buckets};
    MPI_Comm_rank(comm, &node->rank);
    MPI_Comm_size(comm, &node->size);
    node->grads = calloc((size_t)node->size, sizeof *node->grads);
    node->marks = calloc((size_t)node->size, sizeof *node->marks);
    Status status = STATUS_OK;
    if (!node->grads || !node->marks)
        status = error_set(error, STATUS_FAILED, "no memory for the pointers of %d ranks", node->size);
    status = world_agree(comm, status, error);

    MPI_Aint marks_bytes = align_up((MPI_Aint)NODE_MARKS * buckets * (MPI_Aint)sizeof(uint32_t));
    MPI_Aint grads_bytes = align_up((MPI_Aint)count * (MPI_Aint)sizeof(float));
    MPI_Aint bytes = LINE + marks_bytes + grads_bytes * (node->rank == 0 && node->size > 1 ? 2 : 1);
    if (status == STATUS_OK) status = check_room(comm, bytes, error);
    if (status == STATUS_OK) status = open_window(node, comm, bytes, error);
    if (status != STATUS_OK) {
        node_free(node);
        return status;
    }
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
