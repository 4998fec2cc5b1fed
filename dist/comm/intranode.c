#include "dist/comm/intranode.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "core/base/memory.h"
#include "dist/comm/compression.h"
#include "dist/comm/world.h"

enum {
    LINE = 64,
    SUM_BLOCK = 2048, /* floats that stay in the first-level cache while all ranks are added */
    TREE_LEVELS = 16  /* 2^16 ranks of a node */
};

static MPI_Aint align_up(MPI_Aint bytes)
{
    return (bytes + LINE - 1) / LINE * LINE;
}

/* A rank's segment: marks, gradient and, on the first rank, the sum. */
static void find_segment(ShmWindow *shm, int rank, MPI_Aint flags_bytes, MPI_Aint grads_bytes)
{
    MPI_Aint size;
    int unit;
    char *base;
    MPI_Win_shared_query(shm->window, rank, &size, &unit, &base);
    base = (char *)align_up((MPI_Aint)(intptr_t)base);
    shm->flags[rank] = (_Atomic uint32_t *)base;
    shm->grads[rank] = (float *)(base + flags_bytes);
    if (rank == 0) shm->total = shm->size > 1 ? (float *)(base + flags_bytes + grads_bytes) : shm->grads[0];
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
                     "the ranks of a node need %" PRId64 " MB of shared memory, but /dev/shm has %" PRId64 " MB free\n"
                     "  hint: make it larger (containers: --shm-size), or set `allreduce: ring`, which does without",
                     (figures[0] >> 20), (figures[1] >> 20));
}

/* The window. Where only some ranks of a node got it, they leave it where it is: freeing it would wait for the
 * others. */
static Status open_window(ShmWindow *shm, MPI_Comm comm, MPI_Aint bytes, Error *error)
{
    MPI_Info info;
    MPI_Info_create(&info);
    MPI_Info_set(info, "alloc_shared_noncontig", "true"); /* each segment on pages of its own, near its rank */
    void *mine;
    int code = MPI_Win_allocate_shared(bytes, 1, info, comm, &mine, &shm->window);
    MPI_Info_free(&info);
    Status status = code == MPI_SUCCESS ? STATUS_OK : world_mpi_failed(code, "MPI_Win_allocate_shared", error);
    status = world_agree(comm, status, error);
    if (status) return status;
    shm->open = true;
    MPI_Win_lock_all(MPI_MODE_NOCHECK, shm->window);
    return STATUS_OK;
}

Status shm_create(ShmWindow *shm, MPI_Comm comm, int64_t count, int buckets, Error *error)
{
    *shm = (ShmWindow){.buckets = buckets};
    MPI_Comm_rank(comm, &shm->rank);
    MPI_Comm_size(comm, &shm->size);
    shm->grads = memory_alloc(shm->size, sizeof *shm->grads, "the ranks' pointers", error);
    shm->flags = memory_alloc(shm->size, sizeof *shm->flags, "the ranks' pointers", error);
    Status status = world_agree(comm, shm->grads && shm->flags ? STATUS_OK : STATUS_FAILED, error);

    MPI_Aint flags_bytes = align_up((MPI_Aint)SHM_FLAGS * buckets * (MPI_Aint)sizeof(uint32_t));
    MPI_Aint grads_bytes = align_up((MPI_Aint)count * (MPI_Aint)sizeof(float));
    MPI_Aint bytes = LINE + flags_bytes + grads_bytes * (shm->rank == 0 && shm->size > 1 ? 2 : 1);
    if (!status) status = check_room(comm, bytes, error);
    if (!status) status = open_window(shm, comm, bytes, error);
    if (status) {
        shm_free(shm);
        return status;
    }
    for (int rank = 0; rank < shm->size; rank++) find_segment(shm, rank, flags_bytes, grads_bytes);
    /* The total's pages go to whoever sums them first, which puts them near that rank. */
    memset(shm->grads[shm->rank], 0, (size_t)grads_bytes);
    for (int i = 0; i < SHM_FLAGS * buckets; i++) atomic_init(&shm->flags[shm->rank][i], 0);
    MPI_Barrier(comm);
    return STATUS_OK;
}

void shm_free(ShmWindow *shm)
{
    if (shm->open) {
        MPI_Win_unlock_all(shm->window);
        MPI_Win_free(&shm->window);
    }
    free(shm->grads);
    free(shm->flags);
    *shm = (ShmWindow){0};
}

void shm_set_flag(ShmWindow *shm, ShmFlag flag, int bucket, uint32_t step)
{
    atomic_store_explicit(&shm->flags[shm->rank][flag * shm->buckets + bucket], step, memory_order_release);
}

bool shm_all_flags(const ShmWindow *shm, ShmFlag flag, int bucket, uint32_t step, int ranks, int *missing)
{
    for (int rank = 0; rank < ranks; rank++) {
        *missing = rank;
        if (atomic_load_explicit(&shm->flags[rank][flag * shm->buckets + bucket], memory_order_acquire) != step)
            return false;
    }
    return true;
}

/* sum = the gradients of `ranks` ranks from `first` on, over the balanced tree whose leaves they are. scratch: a block for
 * each level below. */
static void sum_subtree(const ShmWindow *shm, int first, int ranks, int64_t at, int64_t count, float *sum,
                        float (*scratch)[SUM_BLOCK])
{
    if (ranks == 2) {
        floats_add2(sum, shm->grads[first] + at, shm->grads[first + 1] + at, count);
        return;
    }
    int half = 2;
    while (half * 2 < ranks) half *= 2;
    sum_subtree(shm, first, half, at, count, sum, scratch);
    if (ranks - half == 1) {
        floats_add(sum, shm->grads[first + half] + at, count);
        return;
    }
    sum_subtree(shm, first + half, ranks - half, at, count, *scratch, scratch + 1);
    floats_add(sum, *scratch, count);
}

void shm_sum(ShmWindow *shm, int64_t begin, int64_t end)
{
    float scratch[TREE_LEVELS][SUM_BLOCK];
    if (shm->size == 1) return; /* the gradient is the sum, in place */
    for (int64_t at = begin; at < end; at += SUM_BLOCK)
        sum_subtree(shm, 0, shm->size, at, end - at < SUM_BLOCK ? end - at : SUM_BLOCK, shm->total + at, scratch);
}
