/* coordinator_server.h: `coordinator: dedicated`: a rank that does not train, but validates and keeps checkpoints meanwhile.
 *
 * The last rank of the job is the keeper; rank 0, the leader of the workers, has a Courier. The courier copies the
 * vectors, which is all that the workers wait for, and sends them behind the next steps; the keeper validates raw and
 * averaged weights with all its threads, writes checkpoints and best.safetensors, and replies. It looks for orders
 * between the batches of a validation too, so no checkpoint waits for one. With `zero: 1` the moments stay with the
 * workers, who write them themselves, and the keeper is the head of the checkpoint (sharded_checkpoint.h). Run folder and data set
 * are on a file system that all see.
 *
 *     leader                                         keeper
 *     courier_order(ORDER_BEGIN, position)           keeper_run
 *     courier_order(ORDER_CHECKPOINT, snapshot)      ... writes;     replies REPLY_CHECKPOINT when it is proved
 *     courier_order(ORDER_VALIDATE, snapshot)        ... evaluates;  replies REPLY_VALIDATION
 *     courier_reply(...) after each step
 *     courier_order(ORDER_RECORDED, position)        ... best.safetensors; checkpoints say that it is validated
 *     courier_order(ORDER_HURRY)                     ... a validation under way stops; replies REPLY_VALIDATION
 *     ...                                            ... REPLY_SIGNAL: a signal came to the keeper, once
 *     courier_order(ORDER_FINISH)                    ... ends its writing; replies REPLY_FINISHED
 *     courier_order(ORDER_QUIT)                      keeper_run returns
 *
 * A checkpoint and a validation can be under way at a time; the leader orders the next one of a kind after the reply.
 * What is being validated lies in RUN/checkpoints/pending-NNNNNNNN until a checkpoint says that it is done, so that a
 * run that is killed meanwhile validates it when it is resumed.
 */
#ifndef DIST_TRAIN_COORDINATOR_SERVER_H
#define DIST_TRAIN_COORDINATOR_SERVER_H

#include <mpi.h>
#include "core/model/model.h"
#include "dist/config/config.h"
#include "dist/checkpoint/sharded_checkpoint.h"
#include "dist/train/coordinator.h"
#include "dist/train/evaluate.h"
#include "dist/checkpoint/async_writer.h"

typedef enum OrderKind {
    ORDER_BEGIN,
    ORDER_CHECKPOINT,
    ORDER_VALIDATE,
    ORDER_RECORDED,
    ORDER_HURRY,
    ORDER_FINISH,
    ORDER_QUIT
} OrderKind;
typedef enum ReplyKind { REPLY_CHECKPOINT, REPLY_VALIDATION, REPLY_SIGNAL, REPLY_FINISHED } ReplyKind;

typedef struct KeeperReply {
    ReplyKind kind;
    WriterReport report;   /* CHECKPOINT and FINISHED; of a validation its status and message */
    Evaluation results[2]; /* VALIDATION: raw, and averaged if there is an average */
    RunPosition position;  /* of the snapshot; after a VALIDATION validated and best_* are what they should become */
} KeeperReply;

/* ---- the leader's side */

typedef struct Courier Courier;

/* which: the vectors that there are; moments: whether those travel too. */
Status courier_create(Courier **courier, MPI_Comm comm, int keeper, const ParamTable *table, const RunVectors *which,
                      bool moments, Error *error);
void courier_free(Courier *courier); /* accepts NULL; waits for what is under way */

/* Sends an order. vectors: the snapshot that belongs to it, or NULL for the one sent last (the same step), or for
 * orders without. Waits until the one before has arrived. */
void courier_order(Courier *courier, Pool *pool, OrderKind kind, const RunVectors *vectors,
                   const RunPosition *position);
int64_t courier_step(const Courier *courier); /* of the snapshot sent last; -1: none */

bool courier_reply(Courier *courier, KeeperReply *reply, bool wait); /* false: none is there */

/* ---- the keeper's side */

typedef struct KeeperSetup { /* borrowed */
    MPI_Comm comm;
    int leader, rank; /* the keeper's own */
    const Config *config;
    Log *log;
    Pool *pool;
    const Dataset *validation;
    const ParamTable *table;
    WriterConfig writer;
} KeeperSetup;

Status keeper_run(const KeeperSetup *setup, Error *error);

#endif
