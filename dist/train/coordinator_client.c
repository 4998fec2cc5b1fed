/* coordinator_client.c: the leader's side of coordinator_server.h. */
#include <stdlib.h>

#include "dist/train/coordinator_server_internal.h"

struct Courier {
    MPI_Comm comm;
    int keeper;
    int64_t size, step;
    RunVectors copy;
    Order order;
    MPI_Request requests[1 + KEEPER_VECTORS];
    int count; /* requests under way */
};

Status courier_create(Courier **out, MPI_Comm comm, int keeper, const ParamTable *table, const RunVectors *which,
                      bool moments, Error *error)
{
    Courier *courier = calloc(1, sizeof *courier);
    *out = NULL;
    if (!courier) return error_set(error, STATUS_FAILED, "out of memory for the courier");
    courier->comm = comm;
    courier->keeper = keeper;
    courier->size = table->size;
    courier->step = -1;
    const WriterConfig wanted = {.head = true,
                                 .ema = which->ema,
                                 .moment1 = moments && which->moment1,
                                 .moment2 = moments && which->moment2,
                                 .end = table->size};
    Status status = run_vectors_allocate(&courier->copy, table, &wanted, error);
    if (status) {
        courier_free(courier);
        return status;
    }
    *out = courier;
    return STATUS_OK;
}

/* One by one: MPICH's MPI_STATUSES_IGNORE trips GCC's check of array bounds. */
static void wait_all(Courier *courier)
{
    for (int i = 0; i < courier->count; i++) MPI_Wait(&courier->requests[i], MPI_STATUS_IGNORE);
    courier->count = 0;
}

void courier_free(Courier *courier)
{
    if (!courier) return;
    wait_all(courier);
    run_vectors_free(&courier->copy);
    free(courier);
}

int64_t courier_step(const Courier *courier)
{
    return courier->step;
}

void courier_order(Courier *courier, Pool *pool, OrderKind kind, const RunVectors *vectors, const RunPosition *position)
{
    wait_all(courier);
    courier->order = (Order){.kind = kind, .snapshot = vectors != NULL, .position = *position};
    MPI_Isend(&courier->order, (int)sizeof courier->order, MPI_BYTE, courier->keeper, TAG_ORDER, courier->comm,
              &courier->requests[courier->count++]);
    if (!vectors) return;
    run_vectors_copy(pool, &courier->copy, vectors, courier->size);
    courier->step = position->step;
    float *parts[KEEPER_VECTORS] = {courier->copy.weights, courier->copy.ema, courier->copy.moment1,
                                    courier->copy.moment2};
    for (int i = 0; i < KEEPER_VECTORS; i++)
        if (parts[i])
            MPI_Isend(parts[i], (int)courier->size, MPI_FLOAT, courier->keeper, TAG_VECTOR, courier->comm,
                      &courier->requests[courier->count++]);
}

bool courier_reply(Courier *courier, KeeperReply *reply, bool wait)
{
    int there = 1;
    if (!wait) MPI_Iprobe(courier->keeper, TAG_REPLY, courier->comm, &there, MPI_STATUS_IGNORE);
    if (there)
        MPI_Recv(reply, (int)sizeof *reply, MPI_BYTE, courier->keeper, TAG_REPLY, courier->comm, MPI_STATUS_IGNORE);
    return there;
}
