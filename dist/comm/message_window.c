#include "dist/comm/message_window.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/memory.h"
#include "dist/comm/world.h"

/* Floats. Between nodes messages are small enough for Open MPI's tcp to send at once: above 64 KB it asks the receiver
 * first. Networks that do without that are busier with longer ones. Within a node each message is a system call that
 * copies, so larger ones are better, as long as the buffers stay in the cache. */
enum {
    LEAST_CHUNK = 2048,
    NETWORK_CHUNK = WINDOW_LONG / 4,
    NETWORK_ROOM = 4 * WINDOW_LONG,
    NODE_CHUNK = 1 << 17,
    NODE_ROOM = 4 * NODE_CHUNK
};

Status message_window_create(MessageWindow *window, MPI_Comm comm, bool local, WireType wire, Error *error)
{
    *window = (MessageWindow){.comm = comm, .wire = wire, .local = local};
    window->max_chunk = window->local ? NODE_CHUNK : NETWORK_CHUNK;
    window->room = window->local ? NODE_ROOM : NETWORK_ROOM;
    for (int i = 0; i < 2 * WINDOW_MOST; i++) window->requests[i] = MPI_REQUEST_NULL;
    window->memory = memory_alloc_aligned(64, window->room, sizeof *window->memory, "the messages of a sum", error);
    if (!window->memory) return STATUS_FAILED;
    memset(window->memory, 0, (size_t)window->room * sizeof *window->memory); /* no page faults later */
    return STATUS_OK;
}

void message_window_free(MessageWindow *window)
{
    free(window->memory);
    *window = (MessageWindow){0};
}

void message_window_long(MessageWindow *window, bool longer)
{
    if (!window->local) window->max_chunk = longer ? WINDOW_LONG : NETWORK_CHUNK;
}

/* Four messages or more keep all busy where a link does the carrying. In a node a core has to, and each message is one more
 * turn-taking. */
int64_t message_window_chunk(const MessageWindow *window, int64_t part)
{
    int64_t chunk = window->local ? part : part / 4;
    if (chunk < LEAST_CHUNK) chunk = LEAST_CHUNK;
    return chunk < window->max_chunk ? chunk : window->max_chunk;
}

void message_window_set(MessageWindow *window, int64_t chunk)
{
    window->chunk = chunk < 16 ? 16 : (chunk + 15) / 16 * 16;
    int64_t messages = window->room / window->chunk;
    window->length = messages < WINDOW_MOST ? (int)messages : WINDOW_MOST;
}

/* ---- places */

/* Floats are sent from the vector; halves need buffers for both directions, which take as much memory as floats for
 * one. */
void *message_window_buffer(const MessageWindow *window, int64_t message)
{
    return (char *)window->memory + message % window->length * window->chunk * (int64_t)compressed_bytes(window->wire);
}

static uint16_t *send_buffer(const MessageWindow *window, int64_t message)
{
    return (uint16_t *)window->memory + (window->length + message % window->length) * window->chunk;
}

static int receive_index(const MessageWindow *window, int64_t message)
{
    return (int)(message % window->length);
}

static int send_index(const MessageWindow *window, int64_t message)
{
    return WINDOW_MOST + (int)(message % window->length);
}

static MPI_Datatype wire_datatype(const MessageWindow *window)
{
    return window->wire == WIRE_FP32 ? MPI_FLOAT : MPI_UINT16_T;
}

/* ---- messages */

Status message_window_receive(MessageWindow *window, int64_t message, void *target, int64_t count, int from, int tag,
                              Error *error)
{
    MPI_Request *request = &window->requests[receive_index(window, message)];
    *request = MPI_REQUEST_NULL;
    if (count == 0) return STATUS_OK;
    int code = MPI_Irecv(target, (int)count, wire_datatype(window), from, tag, window->comm, request);
    return code == MPI_SUCCESS ? STATUS_OK : world_mpi_failed(code, "MPI_Irecv of a part of a sum", error);
}

Status message_window_send(MessageWindow *window, int64_t message, const void *source, int64_t count, int to, int tag,
                           Error *error)
{
    MPI_Request *request = &window->requests[send_index(window, message)];
    *request = MPI_REQUEST_NULL;
    if (count == 0) return STATUS_OK;
    int code = MPI_Isend(source, (int)count, wire_datatype(window), to, tag, window->comm, request);
    return code == MPI_SUCCESS ? STATUS_OK : world_mpi_failed(code, "MPI_Isend of a part of a sum", error);
}

/* Each look costs system calls when messages go over tcp. Finished requests become MPI_REQUEST_NULL. */
Status message_window_test(MessageWindow *window, Error *error)
{
    int finished, indices[2 * WINDOW_MOST];
    MPI_Status statuses[2 * WINDOW_MOST];
    int code = MPI_Testsome(2 * WINDOW_MOST, window->requests, &finished, indices, statuses);
    return code == MPI_SUCCESS ? STATUS_OK : world_mpi_failed(code, "messages of a sum", error);
}

bool message_window_received(const MessageWindow *window, int64_t message)
{
    return window->requests[receive_index(window, message)] == MPI_REQUEST_NULL;
}

bool message_window_sent(const MessageWindow *window, int64_t message)
{
    return window->requests[send_index(window, message)] == MPI_REQUEST_NULL;
}

void message_window_add(const MessageWindow *window, int64_t message, float *vector, const float *residual,
                        int64_t count)
{
    const void *buffer = message_window_buffer(window, message);
    if (residual) floats_add(vector, residual, count);
    if (window->wire == WIRE_FP32)
        floats_add(vector, buffer, count);
    else
        floats_decompress_add(window->wire, buffer, vector, count);
}

const void *message_window_pack(const MessageWindow *window, int64_t message, float *vector, float *residual,
                                bool own_sum, int64_t count)
{
    uint16_t *halves = send_buffer(window, message);
    floats_compress(window->wire, vector, residual, halves, count);
    if (own_sum) floats_decompress(window->wire, halves, vector, count); /* the same bits as everybody else's */
    return halves;
}
