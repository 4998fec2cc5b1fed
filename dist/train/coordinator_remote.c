/* coordinator_remote.c: `coordinator: dedicated`: rank 0 is the client of a rank that does not train; with `zero: 1`
 * every rank writes its part of a checkpoint, of which the server is the head. */
#include <inttypes.h>
#include <unistd.h>

#include "dist/train/coordinator_internal.h"
#include "dist/train/signals.h"

enum { WAIT_MICROSECONDS = 5000, FINISH_MICROSECONDS = 2000 };

static Status remote_create(Coordinator *coordinator, Error *error)
{
    const CoordinatorSetup *setup = &coordinator->setup;
    const bool sharded = coordinator_sharded(setup);
    Status status = STATUS_OK;
    if (coordinator->is_root || sharded) status = coordinator_files(&coordinator->files, setup, error);
    if (!status && sharded) {
        const CheckpointShare share = {.moments = true,
                                       .begin = setup->vectors->begin,
                                       .end = setup->vectors->end,
                                       .part = setup->world->rank,
                                       .parts = setup->world->size};
        const WriterConfig writer = coordinator_writer_config(setup, &coordinator->files, &share);
        status = sharded_checkpoint_create(&coordinator->sharded, setup->job, setup->server, &writer, error);
    }
    if (status || !coordinator->is_root) return status;
    return coordinator_client_create(&coordinator->remote.client, setup->job, setup->server, setup->table,
                                     setup->vectors, !sharded, error);
}

static void request(Coordinator *coordinator, RequestKind kind, const RunVectors *vectors, const RunPosition *position)
{
    coordinator_client_request(coordinator->remote.client, coordinator->setup.pool, kind, vectors, position);
}

static void remote_free(Coordinator *coordinator)
{
    sharded_checkpoint_free(&coordinator->sharded);
    if (coordinator->remote.client) request(coordinator, REQUEST_QUIT, NULL, &(RunPosition){0});
    coordinator_client_free(coordinator->remote.client);
}

static void remote_begin_run(Coordinator *coordinator, const RunPosition *position)
{
    request(coordinator, REQUEST_BEGIN, NULL, position);
}

/* ---- responses */

static void take_validation(Coordinator *coordinator, const Response *response)
{
    const RunPosition *position = &response->position;
    coordinator->remote.validating = false;
    if (!response->report.status) {
        coordinator_record_validation(coordinator, position, response->results);
        coordinator_sync_metrics(coordinator);
        request(coordinator, REQUEST_ACK, NULL, position);
    } else if (response->report.status != STATUS_STOPPED) {
        log_write(coordinator->setup.log, LOG_WARNING, "epoch %" PRId64 " was not validated: %s", position->epoch,
                  response->report.error.message);
    }
}

static void take_response(Coordinator *coordinator, const Response *response)
{
    switch (response->kind) {
    case RESPONSE_CHECKPOINT:
        coordinator->remote.writing = false;
        coordinator_log_checkpoint(coordinator, &response->report);
        break;
    case RESPONSE_VALIDATION:
        take_validation(coordinator, response);
        break;
    case RESPONSE_SIGNAL:
        coordinator->asked_to_stop = true;
        log_write(coordinator->setup.log, LOG_INFO, "a signal came to rank %d, the coordinator",
                  coordinator->setup.server);
        break;
    case RESPONSE_FINISHED:
        break;
    }
}

/* What was requested of a server that cannot be reached counts as a checkpoint that failed. */
static void check_connection(Coordinator *coordinator)
{
    WriterReport lost = {.step = coordinator_client_step(coordinator->remote.client)};
    lost.status = coordinator_client_status(coordinator->remote.client, &lost.error);
    if (!lost.status || (!coordinator->remote.writing && !coordinator->remote.validating)) return;
    coordinator->remote.writing = coordinator->remote.validating = false;
    coordinator_log_checkpoint(coordinator, &lost);
}

static void remote_collect(Coordinator *coordinator)
{
    WriterReport report;
    Response response;
    sharded_checkpoint_poll(&coordinator->sharded, &report); /* its head, the server, reports */
    if (!coordinator->is_root) return;
    while (coordinator_client_response(coordinator->remote.client, &response, false))
        take_response(coordinator, &response);
    check_connection(coordinator);
}

/* ---- checkpoints */

static bool remote_busy(const Coordinator *coordinator)
{
    return coordinator->remote.writing || sharded_checkpoint_busy(&coordinator->sharded);
}

static void remote_begin_checkpoint(Coordinator *coordinator, const RunPosition *position)
{
    const CoordinatorSetup *setup = &coordinator->setup;
    if (coordinator->sharded.writer)
        sharded_checkpoint_begin(&coordinator->sharded, setup->pool, setup->vectors, position);
    if (!coordinator->is_root) return;
    coordinator_sync_metrics(coordinator); /* the record up to a checkpoint must not be behind it */
    request(coordinator, REQUEST_CHECKPOINT, setup->vectors, position);
    coordinator->remote.writing = true;
}

static void remote_drain(Coordinator *coordinator)
{
    WriterReport report;
    Response response;
    sharded_checkpoint_wait(&coordinator->sharded, &report);
    while (coordinator->remote.writing && coordinator_client_response(coordinator->remote.client, &response, true))
        take_response(coordinator, &response);
    remote_collect(coordinator);
}

/* A validation that is under way ends, or is cancelled when a signal has come. */
static void remote_end_run(Coordinator *coordinator, RunPosition *position)
{
    Response response = {.kind = RESPONSE_SIGNAL};
    bool cancelled = false;
    for (remote_collect(coordinator); coordinator->remote.validating; remote_collect(coordinator)) {
        if (signals_caught() && !cancelled) {
            cancelled = true;
            request(coordinator, REQUEST_CANCEL, NULL, position);
        }
        usleep(FINISH_MICROSECONDS);
    }
    request(coordinator, REQUEST_FINISH, NULL, position);
    while (response.kind != RESPONSE_FINISHED) {
        if (!coordinator_client_response(coordinator->remote.client, &response, true)) return;
        take_response(coordinator, &response);
    }
    position->validated = response.position.validated;
    position->best_epoch = response.position.best_epoch;
    position->best_top1 = response.position.best_top1;
}

/* ---- validation */

/* The server does one validation at a time: where that takes longer than an epoch, all wait here, not in a sum of
 * gradients, which would look like a rank that is missing. */
static Status wait_for_server(Coordinator *coordinator, Error *error)
{
    for (;;) {
        if (coordinator->is_root) remote_collect(coordinator);
        const MPI_Comm comm = coordinator->setup.world->comm;
        bool validating = world_largest(coordinator->remote.validating, comm) > 0;
        bool stop = world_largest(coordinator->asked_to_stop || signals_caught(), comm) > 0;
        if (!validating) return STATUS_OK;
        if (stop) return error_set(error, STATUS_STOPPED, "stopped while waiting for the validation before");
        if (coordinator->is_root && !coordinator->remote.wait_logged) {
            coordinator->remote.wait_logged = true;
            log_write(coordinator->setup.log, LOG_WARNING,
                      "training waits: the dedicated rank takes longer to validate than the others for the epochs "
                      "between; see eval_every");
        }
        usleep(WAIT_MICROSECONDS);
    }
}

static Status remote_validate(Coordinator *coordinator, RunPosition *position, Error *error)
{
    Status status = wait_for_server(coordinator, error);
    if (status) return status;
    if (coordinator->is_root) {
        bool fresh = coordinator_client_step(coordinator->remote.client) != position->step;
        request(coordinator, REQUEST_VALIDATE, fresh ? coordinator->setup.vectors : NULL, position);
        coordinator->remote.validating = true;
    }
    position->validated = position->epoch;
    return STATUS_OK;
}

const CoordinatorBackend COORDINATOR_REMOTE = {.create = remote_create,
                                               .free = remote_free,
                                               .begin_run = remote_begin_run,
                                               .collect = remote_collect,
                                               .busy = remote_busy,
                                               .begin_checkpoint = remote_begin_checkpoint,
                                               .validate = remote_validate,
                                               .drain = remote_drain,
                                               .end_run = remote_end_run};
