/* keeper.h: `coordinator: dedicated`: a rank that does not train, but validates and keeps checkpoints meanwhile.
 *
 * The last rank of the job is the keeper; rank 0, the leader of the workers, has a Courier. The courier copies the vectors,
 * which is all that the workers wait for, and sends them behind the next steps; the keeper validates raw and averaged
 * weights with all its threads, writes checkpoints and best.safetensors, and replies. Orders are served one after the
 * other. Run folder and data set are on a file system that both see.
 *
 *     leader                                         keeper
 *     courier_order(ORDER_BEGIN, position)           keeper_run
 *     courier_order(ORDER_CHECKPOINT, snapshot)      ... writes;     replies REPLY_CHECKPOINT when it is proved
 *     courier_order(ORDER_VALIDATE, snapshot)        ... evaluates;  replies REPLY_VALIDATION
 *     courier_reply(...) after each step
 *     courier_order(ORDER_FINISH, snapshot)          ... waits for its disk; replies REPLY_FINISHED
 *     courier_order(ORDER_QUIT)                      keeper_run returns
 */
#ifndef DIST_KEEPER_H
#define DIST_KEEPER_H

#include <mpi.h>
#include "core/model.h"
#include "dist/config.h"
#include "dist/coordinator.h"
#include "dist/evaluate.h"
#include "dist/writer.h"

typedef enum OrderKind { ORDER_BEGIN, ORDER_CHECKPOINT, ORDER_VALIDATE, ORDER_FINISH, ORDER_QUIT } OrderKind;
typedef enum ReplyKind { REPLY_CHECKPOINT, REPLY_VALIDATION, REPLY_FINISHED } ReplyKind;

typedef struct KeeperReply {
    ReplyKind kind;
    WriterReport report;   /* CHECKPOINT and FINISHED; of a validation its status and message */
    Evaluation results[2]; /* VALIDATION: raw, and averaged if there is an average */
    RunPosition position;  /* of the snapshot; validated and best_* as the keeper knows them */
} KeeperReply;

/* ---- the leader's side */

typedef struct Courier Courier;

/* which: the vectors that there are. */
Status courier_create(Courier **courier, MPI_Comm comm, int keeper, const ParamTable *table, const RunVectors *which,
                      Error *error);
void courier_free(Courier *courier); /* accepts NULL; waits for what is under way */

bool courier_busy(Courier *courier); /* a snapshot is under way */

/* Sends an order. vectors: the snapshot that belongs to it, or NULL for the one sent last (the same step), or for orders
 * without. Waits when the courier is busy. ORDER_FINISH hurries a validation under way to its end when `hurry`. */
void courier_order(Courier *courier, Pool *pool, OrderKind kind, const RunVectors *vectors, const RunPosition *position,
                   bool hurry);
int64_t courier_step(const Courier *courier); /* of the snapshot sent last; -1: none */

bool courier_reply(Courier *courier, KeeperReply *reply, bool wait); /* false: none is there */

/* ---- the keeper's side */

typedef struct KeeperSetup { /* borrowed */
    MPI_Comm comm;
    int leader;
    const Config *config;
    Log *log;
    Pool *pool;
    const Dataset *validation;
    const ParamTable *table;
    WriterConfig writer;
} KeeperSetup;

Status keeper_run(const KeeperSetup *setup, Error *error);

#endif
