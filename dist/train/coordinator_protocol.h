/* coordinator_protocol.h: what the client, rank 0, and the server, the rank that does not train, send each other.
 *
 *     client                                          server
 *     REQUEST_BEGIN(position)                         what is validated, and the best so far
 *     REQUEST_CHECKPOINT(snapshot)                    ... writes it;     RESPONSE_CHECKPOINT when it is verified
 *     REQUEST_VALIDATE(snapshot)                      ... evaluates;     RESPONSE_VALIDATION
 *     REQUEST_ACK(position)                           the validation is in the record: best.safetensors is written, and
 *                                                     checkpoints say that it is validated
 *     REQUEST_CANCEL                                  a validation under way stops; RESPONSE_VALIDATION
 *     ...                                             RESPONSE_SIGNAL: a signal came to the server, once
 *     REQUEST_FINISH                                  ends its writing;  RESPONSE_FINISHED, the last response
 *     REQUEST_QUIT                                    the server returns
 *
 * A checkpoint and a validation can be under way at a time; the client requests the next of a kind after the response.
 * Both are the same program on one kind of machine, so structs travel as bytes.
 */
#ifndef DIST_TRAIN_COORDINATOR_PROTOCOL_H
#define DIST_TRAIN_COORDINATOR_PROTOCOL_H

#include "dist/checkpoint/async_writer.h"
#include "dist/train/evaluate.h"

enum { TAG_REQUEST = 101, TAG_VECTOR, TAG_RESPONSE, SNAPSHOT_VECTORS = 4, CLIENT_RANK = 0 };

typedef enum RequestKind {
    REQUEST_BEGIN,
    REQUEST_CHECKPOINT,
    REQUEST_VALIDATE,
    REQUEST_ACK,
    REQUEST_CANCEL,
    REQUEST_FINISH,
    REQUEST_QUIT
} RequestKind;

typedef enum ResponseKind { RESPONSE_CHECKPOINT, RESPONSE_VALIDATION, RESPONSE_SIGNAL, RESPONSE_FINISHED } ResponseKind;

typedef struct Request {
    RequestKind kind;
    bool snapshot; /* the vectors follow: weights, ema, moments, as far as there are */
    RunPosition position;
} Request;

typedef struct Response {
    ResponseKind kind;
    WriterReport report;   /* CHECKPOINT and FINISHED; of a validation its status and message */
    Evaluation results[2]; /* VALIDATION: raw, and averaged if there is an average */
    RunPosition position;  /* of the snapshot; after a VALIDATION validated and best_* are what they should become */
} Response;

#endif
