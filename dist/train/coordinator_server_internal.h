/* coordinator_server_internal.h: what courier and keeper send each other. Both are the same program on one kind of machine, so
 * structs travel as bytes. */
#ifndef DIST_TRAIN_COORDINATOR_SERVER_INTERNAL_H
#define DIST_TRAIN_COORDINATOR_SERVER_INTERNAL_H

#include "dist/train/coordinator_server.h"

enum { TAG_ORDER = 101, TAG_VECTOR, TAG_REPLY, KEEPER_VECTORS = 4 };

typedef struct Order {
    OrderKind kind;
    bool snapshot; /* the vectors follow: weights, ema, moments, as far as there are */
    RunPosition position;
} Order;

#endif
