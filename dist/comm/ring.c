#include "dist/comm/ring.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/memory.h"
#include "dist/comm/topology.h"
#include "dist/comm/world.h"

/* Floats per message, of all messages under way in one direction, and messages of a part in one wave. Between nodes
 * messages are small enough for Open MPI's tcp to send at once: above 64 KB it asks the receiver first. Within a node
 * each message is a system call that copies, so larger ones are better, as long as the buffers stay in the cache. A wave
 * should fit into the cache, too, and yet keep every rank busy while its neighbours are a message or two behind. */
enum {
    MIN_CHUNK = 2048,
    NETWORK_CHUNK = 15360,
    NETWORK_ROOM = RING_WINDOW * NETWORK_CHUNK,
    NETWORK_WAVE = 8,
    NODE_CHUNK = 1 << 17,
    NODE_ROOM = 4 * NODE_CHUNK,
    NODE_WAVE = 2
};

/* One message: its step, 0 .. 2N-3, and what of the vector it carries. */
typedef struct Piece {
    int64_t step, begin, count;
} Piece;

RingPart ring_split(int64_t begin, int64_t end, int64_t index, int64_t count)
{
    int64_t blocks = (end - begin + 15) / 16;
    int64_t first = begin + blocks * index / count * 16, last = begin + blocks * (index + 1) / count * 16;
    return (RingPart){first < end ? first : end, last < end ? last : end};
}

Status ring_create(Ring *ring, MPI_Comm comm, int tag, WireType wire, Error *error)
{
    *ring = (Ring){.comm = comm, .tag = tag, .wire = wire};
    MPI_Comm_rank(comm, &ring->rank);
    MPI_Comm_size(comm, &ring->size);
    ring->local = topology_within_node(comm);
    ring->max_chunk = ring->local ? NODE_CHUNK : NETWORK_CHUNK;
    ring->max_wave = ring->local ? NODE_WAVE : NETWORK_WAVE;
    ring->room = ring->local ? NODE_ROOM : NETWORK_ROOM;
    for (int i = 0; i < 2 * RING_WINDOW; i++) ring->requests[i] = MPI_REQUEST_NULL;
    size_t bytes = (size_t)ring->room * sizeof(float);
    ring->memory = memory_alloc_aligned(64, (int64_t)bytes, 1, "a ring's buffers", error);
    if (!ring->memory) return STATUS_FAILED;
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

    /* Four messages or more per part keep receiving, adding and sending busy at once, where a link does the carrying.
     * In a node a core has to, and each message is one more turn-taking. */
    int64_t chunk = ring->local ? longest : longest / 4;
    if (chunk < MIN_CHUNK) chunk = MIN_CHUNK;
    if (chunk > ring->max_chunk) chunk = ring->max_chunk;
    int64_t chunks = (longest + chunk - 1) / chunk, waves = (chunks + ring->max_wave - 1) / ring->max_wave;
    if (chunks > 0) chunk = ((longest + chunks - 1) / chunks + 15) / 16 * 16; /* of equal length */

    ring->vector = vector;
    ring->residual = residual;
    ring->parts = parts;
    ring->chunk = chunk;
    ring->window = ring->room / chunk < RING_WINDOW ? (int)(ring->room / chunk) : RING_WINDOW;
    ring->wave = waves > 0 ? (chunks + waves - 1) / waves : 0;
    ring->first_step = phases & RING_REDUCE ? 0 : ring->size - 1;
    ring->steps = phases == RING_ALL ? 2 * (ring->size - 1) : ring->size - 1;
    ring->last = waves * ring->steps * ring->wave;
    ring->posted = ring->received = ring->sent = ring->flushed = 0;
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
    int64_t step = message / ring->wave % ring->steps + ring->first_step;
    int64_t chunk = message / ring->wave / ring->steps * ring->wave + message % ring->wave;
    int64_t part = (ring->rank - lag - step + 2 * ring->size) % ring->size;
    int64_t begin = ring->parts[part].begin + chunk * ring->chunk;
    int64_t left = ring->parts[part].end - begin, count = left < ring->chunk ? left : ring->chunk;
    return (Piece){step, begin, count > 0 ? count : 0};
}

static Piece sent_piece(const Ring *ring, int64_t message)
{
    return piece_of(ring, message, 1);
}

static Piece received_piece(const Ring *ring, int64_t message)
{
    return piece_of(ring, message, 2);
}

/* Floats are sent from the vector; halves need buffers for both directions, which take as much memory as floats for
 * one. */
static void *receive_buffer(const Ring *ring, int64_t message)
{
    return (char *)ring->memory + message % ring->window * ring->chunk * (int64_t)compressed_bytes(ring->wire);
}

static uint16_t *send_buffer(const Ring *ring, int64_t message)
{
    return (uint16_t *)ring->memory + (ring->window + message % ring->window) * ring->chunk;
}

static MPI_Request *receive_request(Ring *ring, int64_t message)
{
    return &ring->requests[message % ring->window];
}

static MPI_Request *send_request(Ring *ring, int64_t message)
{
    return &ring->requests[RING_WINDOW + message % ring->window];
}

static MPI_Datatype wire_datatype(const Ring *ring)
{
    return ring->wire == WIRE_FP32 ? MPI_FLOAT : MPI_UINT16_T;
}

static bool gathers(const Ring *ring, Piece piece)
{
    return piece.step >= ring->size - 1;
}

/* Final values in fp32 are received in place; what needs a sum or a conversion first, in a buffer. */
static bool received_in_place(const Ring *ring, Piece piece)
{
    return gathers(ring, piece) && ring->wire == WIRE_FP32;
}

static Status post_receives(Ring *ring, bool *moved, Error *error)
{
    while (ring->posted < ring->last && ring->posted - ring->received < ring->window) {
        int64_t message = ring->posted;
        Piece piece = received_piece(ring, message);
        /* A sum comes back to where its unfinished form was sent from, N-1 steps earlier: that send must be over. */
        bool in_place = received_in_place(ring, piece);
        if (in_place && ring->first_step == 0 && ring->flushed <= message - (ring->size - 1) * ring->wave) break;
        MPI_Request *request = receive_request(ring, message);
        *request = MPI_REQUEST_NULL;
        if (piece.count > 0) {
            void *target = in_place ? ring->vector + piece.begin : receive_buffer(ring, message);
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
    Piece piece = received_piece(ring, message);
    if (received_in_place(ring, piece)) return;
    float *vector = ring->vector + piece.begin;
    const void *buffer = receive_buffer(ring, message);
    if (gathers(ring, piece)) {
        floats_decompress(ring->wire, buffer, vector, piece.count);
        return;
    }
    if (ring->residual) floats_add(vector, ring->residual + piece.begin, piece.count);
    if (ring->wire == WIRE_FP32)
        floats_add(vector, buffer, piece.count);
    else
        floats_decompress_add(ring->wire, buffer, vector, piece.count);
}

/* Messages are taken in their order, so that a part's sums do not depend on what MPI finishes first. */
static void finish_receives(Ring *ring, bool *moved)
{
    while (ring->received < ring->posted && *receive_request(ring, ring->received) == MPI_REQUEST_NULL) {
        take_in(ring, ring->received++);
        *moved = true;
    }
}

static void finish_sends(Ring *ring, bool *moved)
{
    while (ring->flushed < ring->sent && *send_request(ring, ring->flushed) == MPI_REQUEST_NULL) {
        ring->flushed++;
        *moved = true;
    }
}

/* Rounds a piece for the wire. Each float of a vector is rounded once per rank and sum: its own parts' on their way,
 * the part it owns when that is complete; passing a sum on loses nothing any more. */
static const void *pack_piece(Ring *ring, int64_t message, Piece piece)
{
    float *vector = ring->vector + piece.begin;
    float *residual = ring->residual ? ring->residual + piece.begin : NULL;
    bool own_sum = piece.step == ring->size - 1;
    uint16_t *halves = send_buffer(ring, message);
    if (piece.step == 0 && residual) floats_add(vector, residual, piece.count);
    floats_compress(ring->wire, vector, !gathers(ring, piece) || own_sum ? residual : NULL, halves, piece.count);
    if (own_sum) floats_decompress(ring->wire, halves, vector, piece.count); /* the same bits as everybody else's */
    return halves;
}

static Status post_sends(Ring *ring, bool *moved, Error *error)
{
    while (ring->sent < ring->last && ring->sent - ring->flushed < ring->window) {
        int64_t message = ring->sent;
        Piece piece = sent_piece(ring, message);
        /* After the first step, what is sent is what arrived one step earlier. */
        if (piece.step > ring->first_step && ring->received <= message - ring->wave) break;
        MPI_Request *request = send_request(ring, message);
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

/* One look at the network for all messages: each costs system calls when it goes over tcp. Finished requests become
 * MPI_REQUEST_NULL. */
static Status test_requests(Ring *ring, Error *error)
{
    int finished, indices[2 * RING_WINDOW];
    MPI_Status statuses[2 * RING_WINDOW];
    int code = MPI_Testsome(2 * RING_WINDOW, ring->requests, &finished, indices, statuses);
    return code == MPI_SUCCESS ? STATUS_OK : world_mpi_failed(code, "messages of the ring", error);
}

Status ring_progress(Ring *ring, bool *moved, Error *error)
{
    Status status = test_requests(ring, error);
    if (status) return status;
    finish_sends(ring, moved);
    status = post_receives(ring, moved, error); /* early: what comes unexpected is copied once more */
    if (status) return status;
    finish_receives(ring, moved);
    return post_sends(ring, moved, error);
}

Status ring_allreduce(Ring *ring, float *vector, int64_t count, Error *error)
{
    RingPart *parts = memory_alloc(ring->size, sizeof *parts, "the parts of a ring", error);
    if (!parts) return STATUS_FAILED;
    for (int p = 0; p < ring->size; p++) parts[p] = ring_split(0, count, p, ring->size);
    ring_start(ring, RING_ALL, vector, NULL, parts);
    Status status = STATUS_OK;
    bool moved = false;
    while (!status && !ring_done(ring)) status = ring_progress(ring, &moved, error);
    free(parts);
    return status;
}
