/* coordinator_internal.h: what the coordinator's files share: coordinator.c (life, checkpoints), coordinator_resume.c
 * and coordinator_record.c (records, validation). */
#ifndef DIST_TRAIN_COORDINATOR_INTERNAL_H
#define DIST_TRAIN_COORDINATOR_INTERNAL_H

#include "dist/checkpoint/sharded_checkpoint.h"
#include "dist/train/coordinator.h"
#include "dist/train/coordinator_server.h"

struct Coordinator {
    CoordinatorSetup setup;
    bool leads; /* rank 0 */
    Model *ema_model;
    ShardedCheckpoint sharded;    /* shared: the leader's; and with slices every rank's */
    char folder[CHECKPOINT_PATH]; /* RUN/checkpoints */
    char *config_text;
    char layout[64];
    /* The leader's: */
    Courier *courier; /* dedicated */
    Metrics metrics;
    bool metrics_open, metrics_failed;
    Progress progress;
    bool progressing;
    int64_t proved;       /* step of the newest checkpoint that is on disk and good; -1: none */
    int failures;         /* checkpoints in a row that could not be written */
    WriterReport failure; /* the latest of them */
    double step_seconds;
    bool grace_told, waiting_told;
    bool wanted;         /* due, and not yet begun */
    bool ordered;        /* the keeper has a checkpoint to write */
    bool validating;     /* the keeper validates */
    bool asked_to_stop;  /* the keeper, by a signal */
    double held_seconds; /* that the last one took out of its step */
    double last_time;    /* when the newest one was begun */
};

/* With `zero: 1` every rank that trains writes its slice of the moments. */
bool coordinator_sliced(const CoordinatorSetup *setup);

/* What has ended since the last look, into the log and the record. */
void coordinator_collect(Coordinator *coordinator);

/* With zero each rank holds a slice of the averaged weights. Collective. */
Status coordinator_gather(Coordinator *coordinator, Error *error);

/* What cannot be recorded must not stop a training; said once. */
void coordinator_metrics_failed(Coordinator *coordinator, const char *message);
void coordinator_check_metrics(Coordinator *coordinator, Status status, const Error *error);
void coordinator_flush(Coordinator *coordinator); /* the interval so far becomes a record */
void coordinator_note_validation(Coordinator *coordinator, const KeeperReply *reply);

bool coordinator_validates(const Config *config, int64_t epoch); /* is there a validation at the end of it (from 1)? */
/* coordinator_validate, with the averaged weights whole on every rank. */
Status coordinator_validate_gathered(Coordinator *coordinator, RunPosition *position, Error *error);

#endif
