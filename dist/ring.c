#include "dist/ring.h"

#include <stdlib.h>
#include <string.h>

#include "dist/world.h"

/* Floats per message. Smaller costs calls, larger fills the pipeline later; 60 KB also stays below the 64 KB above
 * which Open MPI's tcp asks the receiver first, which halves the speed when both directions are busy. */
enum { MIN_CHUNK = 2048, MAX_CHUNK = 15360 };

typedef struct Piece {
    int64_t begin, count;
} Piece;

RingPart ring_split(int64_t begin, int64_t end, int64_t index, int64_t count)
{
    int64_t blocks = (end - begin + 15) / 16;
    int64_t first = begin + blocks * index / count * 16, last = begin + blocks * (index + 1) / count * 16;
    return (RingPart){first < end ? first : end, last < end ? last : end};
}

Status ring_create(Ring *ring, MPI_Comm comm, int tag, WireType wire, Error *error)
{
    *ring = (Ring){.comm = comm, .tag = tag, .wire = wire, .max_chunk = MAX_CHUNK};
    MPI_Comm_rank(comm, &ring->rank);
    MPI_Comm_size(comm, &ring->size);
    size_t bytes = 2 * RING_WINDOW * MAX_CHUNK * sizeof(float);
    ring->memory = aligned_alloc(64, bytes);
    if (!ring->memory) return error_set(error, STATUS_FAILED, "no memory for the ring's %zu bytes of buffers", bytes);
    memset(ring->memory, 0, bytes); /* no page faults later */
    return STATUS_OK;
}

void ring_free(Ring *ring)
{
    free(ring->memory);
    *ring = (Ring){0};
}

void ring_start(Ring *ring, RingPhases phases, float *vector, float *residual, const RingPart *parts)
{
    int64_t longest = 0;
    for (int p = 0; p < ring->size; p++)
        if (parts[p].end - parts[p].begin > longest) longest = parts[p].end - parts[p].begin;

    /* Four chunks per part keep receiving, adding and sending busy at once. */
    int64_t chunk = (longest / 4 + 15) / 16 * 16;
    if (chunk < MIN_CHUNK) chunk = MIN_CHUNK;
    if (chunk > ring->max_chunk) chunk = ring->max_chunk;

    ring->vector = vector;
    ring->residual = residual;
    ring->parts = parts;
    ring->chunk = chunk;
    ring->chunks = (longest + chunk - 1) / chunk;
    ring->turn = (ring->size - 1) * ring->chunks;
    ring->first = phases & RING_REDUCE ? 0 : ring->turn;
    ring->last = phases & RING_GATHER ? 2 * ring->turn : ring->turn;
    ring->posted = ring->received = ring->sent = ring->flushed = ring->first;
}

bool ring_done(const Ring *ring)
{
    return ring->received == ring->last && ring->flushed == ring->last;
}

int ring_neighbour(const Ring *ring)
{
    int way = ring->received < ring->last ? ring->size - 1 : 1;
    return (ring->rank + way) % ring->size;
}

/* At step s, of both phases, rank r sends part r-1-s and receives part r-2-s (mod N). */
static Piece piece_of(const Ring *ring, int64_t message, int lag)
{
    int64_t step = message / ring->chunks, part = (ring->rank - lag - step + 2 * ring->size) % ring->size;
    int64_t begin = ring->parts[part].begin + message % ring->chunks * ring->chunk, end = ring->parts[part].end;
    int64_t count = end - begin < ring->chunk ? end - begin : ring->chunk;
    return (Piece){begin, count > 0 ? count : 0};
}

static Piece sent_piece(const Ring *ring, int64_t message)
{
    return piece_of(ring, message, 1);
}

static Piece received_piece(const Ring *ring, int64_t message)
{
    return piece_of(ring, message, 2);
}

static void *receive_buffer(const Ring *ring, int64_t message)
{
    return ring->memory + message % RING_WINDOW * MAX_CHUNK * sizeof(float);
}

static uint16_t *send_buffer(const Ring *ring, int64_t message)
{
    return (uint16_t *)(ring->memory + (RING_WINDOW + message % RING_WINDOW) * MAX_CHUNK * sizeof(float));
}

static MPI_Datatype wire_datatype(const Ring *ring)
{
    return ring->wire == WIRE_FP32 ? MPI_FLOAT : MPI_UINT16_T;
}

/* Final values in fp32 are received in place; what needs a sum or a conversion first, in a buffer. */
static bool received_in_place(const Ring *ring, int64_t message)
{
    return message >= ring->turn && ring->wire == WIRE_FP32;
}

static Status post_receives(Ring *ring, bool *moved, Error *error)
{
    while (ring->posted < ring->last && ring->posted - ring->received < RING_WINDOW) {
        int64_t message = ring->posted;
        Piece piece = received_piece(ring, message);
        /* A sum comes back to where its unfinished form was sent from, N-1 steps earlier: that send must be over. */
        if (received_in_place(ring, message) && ring->first == 0 && ring->flushed <= message - ring->turn) break;
        MPI_Request *request = &ring->receiving[message % RING_WINDOW];
        *request = MPI_REQUEST_NULL;
        if (piece.count > 0) {
            void *target =
                received_in_place(ring, message) ? ring->vector + piece.begin : receive_buffer(ring, message);
            int code = MPI_Irecv(target, (int)piece.count, wire_datatype(ring),
                                 (ring->rank + ring->size - 1) % ring->size, ring->tag, ring->comm, request);
            if (code != MPI_SUCCESS) return world_mpi_failed(code, "MPI_Irecv in the ring", error);
        }
        ring->posted++;
        *moved = true;
    }
    return STATUS_OK;
}

static void take_in(Ring *ring, int64_t message)
{
    if (received_in_place(ring, message)) return;
    Piece piece = received_piece(ring, message);
    float *vector = ring->vector + piece.begin;
    const void *buffer = receive_buffer(ring, message);
    if (message >= ring->turn) {
        wire_unpack(ring->wire, buffer, vector, piece.count);
        return;
    }
    if (ring->residual) wire_add(vector, ring->residual + piece.begin, piece.count);
    if (ring->wire == WIRE_FP32)
        wire_add(vector, buffer, piece.count);
    else
        wire_unpack_add(ring->wire, buffer, vector, piece.count);
}

static Status finish_receives(Ring *ring, bool *moved, Error *error)
{
    while (ring->received < ring->posted) {
        int arrived = 0;
        int code = MPI_Test(&ring->receiving[ring->received % RING_WINDOW], &arrived, MPI_STATUS_IGNORE);
        if (code != MPI_SUCCESS) return world_mpi_failed(code, "receiving in the ring", error);
        if (!arrived) break;
        take_in(ring, ring->received);
        ring->received++;
        *moved = true;
    }
    return STATUS_OK;
}

/* Rounds a piece for the wire. Each float of a vector is rounded once per rank and sum: its own parts' on their way,
 * the part it owns when that is complete; passing a sum on loses nothing any more. */
static const void *pack_piece(Ring *ring, int64_t message, Piece piece)
{
    float *vector = ring->vector + piece.begin;
    float *residual = ring->residual ? ring->residual + piece.begin : NULL;
    bool own_sum = message >= ring->turn && message < ring->turn + ring->chunks;
    uint16_t *halves = send_buffer(ring, message);
    if (message < ring->chunks && residual) wire_add(vector, residual, piece.count);
    wire_pack(ring->wire, vector, message < ring->turn || own_sum ? residual : NULL, halves, piece.count);
    if (own_sum) wire_unpack(ring->wire, halves, vector, piece.count); /* the same bits as everybody else's */
    return halves;
}

static Status post_sends(Ring *ring, bool *moved, Error *error)
{
    while (ring->sent < ring->last && ring->sent - ring->flushed < RING_WINDOW) {
        int64_t message = ring->sent;
        /* After the first step, what is sent is what arrived one step earlier. */
        if (message >= ring->first + ring->chunks && ring->received <= message - ring->chunks) break;
        Piece piece = sent_piece(ring, message);
        MPI_Request *request = &ring->sending[message % RING_WINDOW];
        *request = MPI_REQUEST_NULL;
        if (piece.count > 0) {
            const void *source =
                ring->wire == WIRE_FP32 ? ring->vector + piece.begin : pack_piece(ring, message, piece);
            int code = MPI_Isend(source, (int)piece.count, wire_datatype(ring), (ring->rank + 1) % ring->size,
                                 ring->tag, ring->comm, request);
            if (code != MPI_SUCCESS) return world_mpi_failed(code, "MPI_Isend in the ring", error);
        }
        ring->sent++;
        *moved = true;
    }
    return STATUS_OK;
}

static Status finish_sends(Ring *ring, bool *moved, Error *error)
{
    while (ring->flushed < ring->sent) {
        int gone = 0;
        int code = MPI_Test(&ring->sending[ring->flushed % RING_WINDOW], &gone, MPI_STATUS_IGNORE);
        if (code != MPI_SUCCESS) return world_mpi_failed(code, "sending in the ring", error);
        if (!gone) break;
        ring->flushed++;
        *moved = true;
    }
    return STATUS_OK;
}

Status ring_progress(Ring *ring, bool *moved, Error *error)
{
    Status status = post_receives(ring, moved, error);
    if (status == STATUS_OK) status = post_sends(ring, moved, error);
    if (status == STATUS_OK) status = finish_receives(ring, moved, error);
    if (status == STATUS_OK) status = post_sends(ring, moved, error);
    if (status == STATUS_OK) status = finish_sends(ring, moved, error);
    return status;
}

Status ring_allreduce(Ring *ring, float *vector, int64_t count, Error *error)
{
    RingPart *parts = calloc((size_t)ring->size, sizeof *parts);
    if (!parts) return error_set(error, STATUS_FAILED, "no memory for %d parts of a ring", ring->size);
    for (int p = 0; p < ring->size; p++) parts[p] = ring_split(0, count, p, ring->size);
    ring_start(ring, RING_ALL, vector, NULL, parts);
    Status status = STATUS_OK;
    bool moved = false;
    while (status == STATUS_OK && !ring_done(ring)) status = ring_progress(ring, &moved, error);
    free(parts);
    return status;
}
