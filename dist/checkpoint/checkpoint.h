/* checkpoint.h: a training run on disk, whole or not there.
 *
 *     RUN/checkpoints/step-00001250/
 *         weights.safetensors     official state_dict names; loads in the official PyTorch code
 *         ema.safetensors         likewise; only with model_ema
 *         optimizer.safetensors   "moment1.<name>" and "moment2.<name>" of every trained tensor; a rank that owns only
 *                                 a slice (zero: 1) writes optimizer-002-of-008.safetensors, whose tensors may be
 *                                 parts: one-dimensional, metadata "<tensor>" = "begin:end" in the whole one
 *         manifest.json           written last: position, configuration, code version, bytes and XXH3-64 of each file;
 *                                 its last line is the XXH3-64 of all the bytes before that line
 *
 * A folder without a manifest is not a checkpoint. Every file is written under a temporary name, fsynced, renamed, read
 * back, compared with memory and hashed before the manifest names it, and only when the manifest is there are older
 * checkpoints removed. So there is always one good checkpoint from the first one on. Nothing here depends on the
 * number of ranks or threads, calls MPI, or keeps state.
 *
 * Removing touches only what is ours: files that a manifest lists, and files with the names above. A link is never
 * followed, a foreign file stays with its folder, and a folder that is no checkpoint is left alone. When something cannot
 * be removed, that says nothing about the new checkpoint: the caller warns and goes on.
 */
#ifndef DIST_CHECKPOINT_CHECKPOINT_H
#define DIST_CHECKPOINT_CHECKPOINT_H

#include <stdbool.h>
#include <stdint.h>
#include "core/base/path.h"
#include "core/model/params.h"
#include "dist/checkpoint/run_vectors.h"

/* Where a run stands: all that a resume needs besides the vectors, since everything random is keyed by position. */
typedef struct RunPosition {
    int64_t step;         /* updates done since the run began */
    int64_t epoch;        /* of the next step, from 0 */
    int64_t epoch_step;   /* steps of that epoch done */
    int64_t global_batch; /* so epoch_step * global_batch positions of the epoch are used */
    int64_t validated;    /* epochs before this one are validated and in the summary */
    int64_t best_epoch;   /* -1: none yet */
    double best_top1;     /* percent */
} RunPosition;

enum { CHECKPOINT_PATH = PATH_SIZE };

typedef struct CheckpointFile {
    char name[64];
    uint64_t bytes, hash;
} CheckpointFile;

/* RUN/checkpoints/step-NNNNNNNN, in `path` (CHECKPOINT_PATH bytes). */
void checkpoint_path(char *path, const char *folder, int64_t step);

/* RUN/checkpoints/pending-NNNNNNNN: weights and average at the end of that epoch, while their validation is not in the
 * record. A checkpoint without moments; which of them are missing, a resumed run validates first. */
void checkpoint_pending_path(char *path, const char *folder, int64_t epoch);

/* Writing `path`. First a folder that is no checkpoint any more, whatever was there; parts of the moments stay, since
 * other ranks may be writing theirs already. Then each file, which is verified and described in *file for the manifest. */
Status checkpoint_begin(const char *path, Error *error);

/* A flat vector as FOLDER/name. Refuses non-finite values, naming step and tensor. metadata: key, value, ..., NULL. */
Status checkpoint_write_vector(const char *path, const char *name, const ParamTable *table, const float *vector,
                               int64_t step, const char *const *metadata, CheckpointFile *file, Error *error);
/* The moments of [vectors->begin, vectors->end), as part `part` of `parts`. */
Status checkpoint_write_moments(const char *path, const ParamTable *table, const RunVectors *vectors, int64_t step,
                                int part, int parts, CheckpointFile *file, Error *error);

/* Last, when every file is there: what an earlier attempt left goes, and the manifest is written, after which the checkpoint
 * exists. config: text of the resolved configuration. */
Status checkpoint_commit(const char *path, const RunPosition *position, const char *config, const char *layout,
                         const CheckpointFile *files, int count, Error *error);

/* Removes all checkpoints of `folder`, half-written ones too, but the `keep` newest up to `step`, which was just verified.
 * One that cannot be removed does not keep the others; the first such failure is returned. */
Status checkpoint_prune(const char *folder, int64_t step, int keep, Error *error);

/* Removes what is pending of epochs up to `validated`, and what was only half written. */
Status checkpoint_prune_pending(const char *folder, int64_t validated, Error *error);

/* Removes one checkpoint, its manifest first, or one that is half written. */
Status checkpoint_remove(const char *path, Error *error);

/* The same for one that this process has been writing, whatever else lies in its folder. */
Status checkpoint_abandon(const char *path, Error *error);

/* Removes temporary files that a killed process left in any checkpoint of `folder`. */
Status checkpoint_sweep(const char *folder, Error *error);

/* Steps of the folder's checkpoints, newest first; *steps is malloc'ed. A missing folder has none. */
Status checkpoint_list(const char *folder, int64_t **steps, int *count, Error *error);

typedef struct Checkpoint { /* an open one */
    char path[CHECKPOINT_PATH];
    RunPosition position;
    char *config;
    char code[64];
    CheckpointFile *files;
    int count;
} Checkpoint;

/* Reads the manifest and verifies it, and the size and hash of every file: STATUS_DATA names what is damaged. */
Status checkpoint_open(Checkpoint *checkpoint, const char *path, Error *error);
/* The same without the files: for ranks that read what another one has just verified. */
Status checkpoint_open_unverified(Checkpoint *checkpoint, const char *path, Error *error);
/* The manifest alone, from its bytes; `name` stands for it in messages. All numbers of the position are in their ranges. */
Status checkpoint_manifest_parse(Checkpoint *checkpoint, const char *name, const char *bytes, size_t size,
                                 Error *error);
void checkpoint_close(Checkpoint *checkpoint); /* accepts a zeroed one */

/* Writes the manifest of the finished checkpoint in `path` anew with the validations that `position` knows; the rest of
 * it, and its files, stay. Whenever the process is killed, the old manifest or the new one is there. */
Status checkpoint_set_validated(const char *path, const RunPosition *position, const char *layout, Error *error);

/* Fills the vectors; those that are NULL are left alone, and of the moments [begin, end) is read. An ema that is wanted
 * but not stored starts from the weights. Moments are put together from however many parts; they are all there or it is
 * an error. */
Status checkpoint_load(const Checkpoint *checkpoint, const ParamTable *table, RunVectors *vectors, Error *error);

/* XXH3-64 of a file as it lies on the disk: its cached pages are dropped first where the system can. */
Status checkpoint_hash_file(const char *path, CheckpointFile *file, Error *error);

#endif
