#include "dist/comm/ring.h"

#include <stdlib.h>

#include "core/base/memory.h"
#include "dist/comm/topology.h"

/* Messages of a part in one wave, which should fit into the cache, and yet keep every rank busy while its neighbours are a
 * message or two behind. */
enum { NETWORK_WAVE = 8, NODE_WAVE = 2 };

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
    *ring = (Ring){.tag = tag};
    MPI_Comm_rank(comm, &ring->rank);
    MPI_Comm_size(comm, &ring->size);
    const bool local = topology_within_node(comm);
    ring->max_wave = local ? NODE_WAVE : NETWORK_WAVE;
    return message_window_create(&ring->window, comm, local, wire, error);
}

void ring_free(Ring *ring)
{
    message_window_free(&ring->window);
    *ring = (Ring){0};
}

void ring_start(Ring *ring, RingPhases phases, float *vector, float *residual, const RingPart *parts)
{
    int64_t longest = 0;
    for (int p = 0; p < ring->size; p++)
        if (parts[p].end - parts[p].begin > longest) longest = parts[p].end - parts[p].begin;

    int64_t chunk = message_window_chunk(&ring->window, longest);
    int64_t chunks = (longest + chunk - 1) / chunk, waves = (chunks + ring->max_wave - 1) / ring->max_wave;
    if (chunks > 0) chunk = ((longest + chunks - 1) / chunks + 15) / 16 * 16; /* of equal length */

    ring->vector = vector;
    ring->residual = residual;
    ring->parts = parts;
    message_window_set(&ring->window, chunk);
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
    const int64_t length = ring->window.chunk, begin = ring->parts[part].begin + chunk * length;
    int64_t left = ring->parts[part].end - begin, count = left < length ? left : length;
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

static bool gathers(const Ring *ring, Piece piece)
{
    return piece.step >= ring->size - 1;
}

/* Final values in fp32 are received in place; what needs a sum or a conversion first, in a buffer. */
static bool received_in_place(const Ring *ring, Piece piece)
{
    return gathers(ring, piece) && ring->window.wire == WIRE_FP32;
}

static Status post_receives(Ring *ring, bool *moved, Error *error)
{
    while (ring->posted < ring->last && ring->posted - ring->received < ring->window.length) {
        int64_t message = ring->posted;
        Piece piece = received_piece(ring, message);
        /* A sum comes back to where its unfinished form was sent from, N-1 steps earlier: that send must be over. */
        bool in_place = received_in_place(ring, piece);
        if (in_place && ring->first_step == 0 && ring->flushed <= message - (ring->size - 1) * ring->wave) break;
        void *target = in_place ? ring->vector + piece.begin : message_window_buffer(&ring->window, message);
        Status status = message_window_receive(&ring->window, message, target, piece.count,
                                               (ring->rank + ring->size - 1) % ring->size, ring->tag, error);
        if (status) return status;
        ring->posted++;
        *moved = true;
    }
    return STATUS_OK;
}

static void take_in(Ring *ring, int64_t message)
{
    const MessageWindow *window = &ring->window;
    Piece piece = received_piece(ring, message);
    if (received_in_place(ring, piece)) return;
    float *vector = ring->vector + piece.begin;
    if (gathers(ring, piece))
        floats_decompress(window->wire, message_window_buffer(window, message), vector, piece.count);
    else
        message_window_add(window, message, vector, ring->residual ? ring->residual + piece.begin : NULL, piece.count);
}

/* Messages are taken in their order, so that a part's sums do not depend on what MPI finishes first. */
static void finish_receives(Ring *ring, bool *moved)
{
    while (ring->received < ring->posted && message_window_received(&ring->window, ring->received)) {
        take_in(ring, ring->received++);
        *moved = true;
    }
}

static void finish_sends(Ring *ring, bool *moved)
{
    while (ring->flushed < ring->sent && message_window_sent(&ring->window, ring->flushed)) {
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
    if (piece.step == 0 && residual) floats_add(vector, residual, piece.count);
    if (gathers(ring, piece) && !own_sum) residual = NULL;
    return message_window_pack(&ring->window, message, vector, residual, own_sum, piece.count);
}

static Status post_sends(Ring *ring, bool *moved, Error *error)
{
    while (ring->sent < ring->last && ring->sent - ring->flushed < ring->window.length) {
        int64_t message = ring->sent;
        Piece piece = sent_piece(ring, message);
        /* After the first step, what is sent is what arrived one step earlier. */
        if (piece.step > ring->first_step && ring->received <= message - ring->wave) break;
        const void *source =
            ring->window.wire == WIRE_FP32 ? ring->vector + piece.begin : pack_piece(ring, message, piece);
        Status status = message_window_send(&ring->window, message, source, piece.count, (ring->rank + 1) % ring->size,
                                            ring->tag, error);
        if (status) return status;
        ring->sent++;
        *moved = true;
    }
    return STATUS_OK;
}

Status ring_progress(Ring *ring, bool *moved, Error *error)
{
    Status status = message_window_test(&ring->window, error);
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
