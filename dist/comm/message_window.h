/* message_window.h: the messages of a sum that are under way, at most a window of them in each direction: their requests,
 * and buffers for what cannot be received into the vector or sent from it.
 *
 *     MessageWindow window = {0};
 *     message_window_create(&window, comm, local, WIRE_FP32, error);
 *     message_window_set(&window, chunk);                                     // between sums
 *     message_window_receive(&window, 0, buffer, count, from, tag, error);    // message 0, 1, 2 ... of each direction
 *     message_window_send(&window, 0, source, count, to, tag, error);
 *     message_window_test(&window, error);                                    // one look for all of them
 *     if (message_window_received(&window, 0)) message_window_add(&window, 0, vector, residual, count);
 *     message_window_free(&window);
 *
 * Message n takes the place of n - length, which has to be over. Ring and Tree (ring.h, tree.h) say who sends what to whom.
 */
#ifndef DIST_COMM_MESSAGE_WINDOW_H
#define DIST_COMM_MESSAGE_WINDOW_H

#include <mpi.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/base/status.h"
#include "dist/comm/compression.h"

enum {
    WINDOW_MOST = 8,    /* messages under way in each direction */
    WINDOW_LONG = 61440 /* floats of a long message between nodes */
};

typedef struct MessageWindow {
    MPI_Comm comm; /* the caller's */
    WireType wire;
    bool local;        /* all ranks of comm are on one node */
    int64_t max_chunk; /* floats of the largest message; may be changed between sums, down to anything */
    int64_t room;      /* floats of all messages under way in one direction */

    int64_t chunk;                         /* floats per message */
    int length;                            /* messages under way in each direction */
    MPI_Request requests[2 * WINDOW_MOST]; /* of receives, of sends; MPI_REQUEST_NULL: finished */
    float *memory;                         /* (room) a window of chunks to receive into, and halves to send from */
} MessageWindow;

/* local: whether all ranks of comm are on one node (topology_within_node). */
Status message_window_create(MessageWindow *window, MPI_Comm comm, bool local, WireType wire, Error *error);
void message_window_free(MessageWindow *window); /* accepts a zeroed one; nothing may be under way */

/* Between sums: messages between nodes may be four times as long, or not. On all ranks alike. */
void message_window_long(MessageWindow *window, bool longer);

/* Floats of a message, of a part of `part` floats that goes from one rank to the next, so that receiving, adding and
 * sending are busy at once. */
int64_t message_window_chunk(const MessageWindow *window, int64_t part);
/* The length of the next sum's messages: so many floats, or some more up to a multiple of 16. */
void message_window_set(MessageWindow *window, int64_t chunk);

/* Where message `message` is received when it needs a sum or a conversion first. */
void *message_window_buffer(const MessageWindow *window, int64_t message);

/* Nothing is sent or received for a count of 0, and it is over at once. */
Status message_window_receive(MessageWindow *window, int64_t message, void *target, int64_t count, int from, int tag,
                              Error *error);
Status message_window_send(MessageWindow *window, int64_t message, const void *source, int64_t count, int to, int tag,
                           Error *error);
Status message_window_test(MessageWindow *window, Error *error);
bool message_window_received(const MessageWindow *window, int64_t message);
bool message_window_sent(const MessageWindow *window, int64_t message);

/* vector[0 .. count) += the buffer of a message, after error feedback where residual is not NULL. */
void message_window_add(const MessageWindow *window, int64_t message, float *vector, const float *residual,
                        int64_t count);

/* vector[0 .. count) rounded for a narrow wire, to be sent as message `message`: what the rounding lost goes to residual, if
 * there is one. own_sum: vector becomes what all others will read, too. */
const void *message_window_pack(const MessageWindow *window, int64_t message, float *vector, float *residual,
                                bool own_sum, int64_t count);

#endif
