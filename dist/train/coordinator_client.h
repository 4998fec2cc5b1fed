/* coordinator_client.h: rank 0's connection to the rank that does not train (coordinator_protocol.h).
 *
 * A request with a snapshot copies the vectors, which is all that a step waits for, and sends them behind the next ones.
 */
#ifndef DIST_TRAIN_COORDINATOR_CLIENT_H
#define DIST_TRAIN_COORDINATOR_CLIENT_H

#include <mpi.h>
#include "core/base/thread_pool.h"
#include "dist/train/coordinator_protocol.h"

typedef struct CoordinatorClient CoordinatorClient;

/* which: the vectors that there are; moments: whether those travel too. */
Status coordinator_client_create(CoordinatorClient **client, MPI_Comm comm, int server, const ParamTable *table,
                                 const RunVectors *which, bool moments, Error *error);
void coordinator_client_free(CoordinatorClient *client); /* accepts NULL; waits for what is under way */

/* vectors: the snapshot that belongs to it, or NULL for the one sent last (the same step), or for requests without.
 * Waits until the request before has arrived. */
void coordinator_client_request(CoordinatorClient *client, Pool *pool, RequestKind kind, const RunVectors *vectors,
                                const RunPosition *position);
int64_t coordinator_client_step(const CoordinatorClient *client); /* of the snapshot sent last; -1: none */

/* false: none is there, or none can come. */
bool coordinator_client_response(CoordinatorClient *client, Response *response, bool wait);

/* Whether the server can be reached: what MPI said first, or STATUS_OK. After a failure requests do nothing. */
Status coordinator_client_status(const CoordinatorClient *client, Error *error);

#endif
