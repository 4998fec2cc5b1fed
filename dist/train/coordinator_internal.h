/* coordinator_internal.h: what the coordinator's files share.
 *
 *     coordinator.c         life, when a checkpoint is due, the end
 *     coordinator_record.c  log and metrics
 *     coordinator_resume.c  from a checkpoint to vectors and position
 *     coordinator_files.c   what every writer of checkpoints needs to know
 *     coordinator_local.c   a backend: the ranks that train write checkpoints and validate
 *     coordinator_remote.c  a backend: another rank does (coordinator_server.h)
 */
#ifndef DIST_TRAIN_COORDINATOR_INTERNAL_H
#define DIST_TRAIN_COORDINATOR_INTERNAL_H

#include "dist/checkpoint/sharded_checkpoint.h"
#include "dist/train/coordinator.h"
#include "dist/train/coordinator_client.h"

/* Who writes checkpoints and validates. Every rank that trains calls these alike. */
typedef struct CoordinatorBackend {
    Status (*create)(Coordinator *coordinator, Error *error);
    void (*free)(Coordinator *coordinator);
    void (*begin_run)(Coordinator *coordinator, const RunPosition *position); /* rank 0: where the run goes on */
    void (*collect)(Coordinator *coordinator);    /* what has ended since the last look, into log and record */
    bool (*busy)(const Coordinator *coordinator); /* a checkpoint is under way */
    void (*begin_checkpoint)(Coordinator *coordinator, const RunPosition *position); /* this rank's share */
    /* Collective; the averaged weights are whole on every rank. */
    Status (*validate)(Coordinator *coordinator, RunPosition *position, Error *error);
    void (*drain)(Coordinator *coordinator);                          /* until no checkpoint is under way */
    void (*end_run)(Coordinator *coordinator, RunPosition *position); /* rank 0: a validation under way ends, too */
} CoordinatorBackend;

extern const CoordinatorBackend COORDINATOR_LOCAL, COORDINATOR_REMOTE;

typedef struct CoordinatorFiles { /* what a writer borrows */
    char folder[CHECKPOINT_PATH]; /* RUN/checkpoints */
    char layout[64];
    char *config; /* text */
} CoordinatorFiles;

/* Which files of a checkpoint a rank writes. */
typedef struct CheckpointShare {
    bool head;    /* weights, average and manifest */
    bool moments; /* of [begin, end), as part `part` of `parts` */
    int64_t begin, end;
    int part, parts;
    int others; /* parts that the head hears of */
} CheckpointShare;

struct Coordinator {
    CoordinatorSetup setup;
    const CoordinatorBackend *backend;
    bool is_root; /* rank 0 */
    CoordinatorFiles files;
    ShardedCheckpoint sharded; /* zeroed on a rank that writes nothing */
    Model *ema_model;          /* local */
    /* Rank 0's: */
    struct { /* remote */
        CoordinatorClient *client;
        bool writing, validating; /* requested, and no response yet */
        bool wait_logged;
    } remote;
    Metrics metrics;
    bool metrics_open, metrics_failed;
    Progress progress;
    bool progressing;
    int64_t verified;     /* step of the newest checkpoint that is on disk and good; -1: none */
    int64_t validated;    /* epochs that the resumed checkpoint says are validated; -1: it is not of this folder */
    int failures;         /* checkpoints in a row that could not be written */
    WriterReport failure; /* the latest of them */
    bool grace_logged;
    bool asked_to_stop;   /* a signal came to the server */
    bool due;             /* a checkpoint that is not yet begun */
    double stall_seconds; /* that the last one took out of its step */
    double last_time;     /* when the newest one was begun */
};

/* With `zero: 1` every rank that trains writes its slice of the moments. */
bool coordinator_sharded(const CoordinatorSetup *setup);

Status coordinator_files(CoordinatorFiles *files, const CoordinatorSetup *setup, Error *error);
WriterConfig coordinator_writer_config(const CoordinatorSetup *setup, const CoordinatorFiles *files,
                                       const CheckpointShare *share);

/* With zero each rank holds a slice of the averaged weights. Collective. */
Status coordinator_gather(Coordinator *coordinator, Error *error);

void coordinator_log_checkpoint(Coordinator *coordinator, const WriterReport *report);
void coordinator_log_best(Log *log, const WriterReport *report); /* what went wrong after a validation */

/* What cannot be recorded must not stop a training; said once. */
void coordinator_metrics_failed(Coordinator *coordinator, const char *message);
void coordinator_check_metrics(Coordinator *coordinator, Status status, const Error *error);
void coordinator_record_end(Coordinator *coordinator, const RunPosition *position); /* the last line of this process */
void coordinator_sync_metrics(Coordinator *coordinator);
void coordinator_flush(Coordinator *coordinator); /* the interval so far becomes a record */
void coordinator_record_validation(Coordinator *coordinator, const RunPosition *position, const Evaluation *results);

bool coordinator_validates(const Config *config, int64_t epoch); /* is there a validation at the end of it (from 1)? */
/* Notes in `position`, of the end of an epoch, that it is validated, and whether it is the best so far: then true. */
bool coordinator_update_best(RunPosition *position, const Evaluation *result);

#endif
