/* convert_plan.h: which image goes where. Private to the conversion. */
#ifndef DATA_CONVERT_CONVERT_PLAN_H
#define DATA_CONVERT_CONVERT_PLAN_H

#include "data/convert/convert.h"
#include "data/dataset/manifest.h"
#include "data/convert/source.h"

typedef struct PlanShard {
    SourceSplitKind split;
    int64_t begin, end; /* positions in the order of the split */
    char file[64];
} PlanShard;

typedef struct Plan {
    int64_t counts[SOURCE_SPLITS];  /* images that are taken: all, or config->limit */
    uint32_t *order[SOURCE_SPLITS]; /* position -> item */
    PlanShard *shards;
    int shard_count;
    char fingerprint[33]; /* of source index and options: all that the result depends on */
} Plan;

Status plan_create(Plan *plan, const Source *source, const ConvertConfig *config, Error *error);
void plan_free(Plan *plan); /* accepts a zeroed one */

/* ---- what a finished shard says about itself */

typedef struct DoneMarker {
    ManifestShard shard;
    DatasetStats stats;
    char **rejected; /* name, reason, name, reason ... */
    int rejected_count;
} DoneMarker;

Status done_marker_reject(DoneMarker *marker, const char *name, const char *reason, Error *error);
Status done_marker_write(const DoneMarker *marker, const char *dest, const char *fingerprint, Error *error);
/* *found is false when there is none. One of another plan is STATUS_USAGE. */
Status done_marker_read(DoneMarker *marker, const char *dest, const PlanShard *shard, const char *fingerprint,
                        int classes, bool *found, Error *error);
void done_marker_free(DoneMarker *marker); /* accepts a zeroed one */

/* ---- one shard */

typedef struct ShardJob {
    const Source *source;
    const Plan *plan;
    const ConvertConfig *config;
    const PlanShard *shard;
    const bool *cancelled;                                     /* another thread failed */
    void (*done)(void *context, int64_t bytes, bool rejected); /* after each image */
    void *context;
} ShardJob;

/* Writes DEST/.partial/SHARD.mdb, moves it to DEST/SHARD.mdb, writes its marker. */
Status convert_shard(const ShardJob *job, Error *error);

#endif
