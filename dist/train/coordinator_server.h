/* coordinator_server.h: `coordinator: dedicated`: the rank that does not train, but validates and writes checkpoints.
 *
 * The last rank of the job is the server; rank 0 is its client (coordinator_client.h), and coordinator_protocol.h says
 * what they send each other. The server validates raw and averaged weights with all its threads and writes checkpoints
 * and best.safetensors. It looks for requests between the batches of a validation too, so no checkpoint waits for one.
 * With `zero: 1` the moments stay with the ranks that train, who write them themselves, and the server is the head of
 * the checkpoint (sharded_checkpoint.h). Run folder and data set are on a file system that all see.
 *
 * What is being validated lies in RUN/checkpoints/pending-NNNNNNNN until a checkpoint says that it is done, so that a
 * run that is killed meanwhile validates it when it is resumed.
 *
 *     coordinator_server_create(&server, &setup, error);
 *     ... all ranks agree that creation succeeded ...
 *     coordinator_server_run(server, error);              // until REQUEST_QUIT
 *     coordinator_server_free(server);
 */
#ifndef DIST_TRAIN_COORDINATOR_SERVER_H
#define DIST_TRAIN_COORDINATOR_SERVER_H

#include "dist/train/coordinator.h"

typedef struct CoordinatorServer CoordinatorServer;

/* setup: as a coordinator's, but without vectors, reducer and model. */
Status coordinator_server_create(CoordinatorServer **server, const CoordinatorSetup *setup, Error *error);
void coordinator_server_free(CoordinatorServer *server); /* accepts NULL */

/* Until REQUEST_QUIT; STATUS_FAILED when the client cannot be reached. */
Status coordinator_server_run(CoordinatorServer *server, Error *error);

#endif
