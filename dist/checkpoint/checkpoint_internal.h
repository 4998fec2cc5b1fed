/* checkpoint_internal.h: what checkpoint.c (the manifest) and checkpoint_folder.c (the folder) share. */
#ifndef DIST_CHECKPOINT_CHECKPOINT_INTERNAL_H
#define DIST_CHECKPOINT_CHECKPOINT_INTERNAL_H

#include "dist/checkpoint/checkpoint.h"

#define CHECKPOINT_MANIFEST "manifest.json"
enum { CHECKPOINT_MANIFEST_LIMIT = 16 << 20 };

/* Before a manifest is written: removes the files of an earlier attempt that are not among `files`. */
Status checkpoint_clear(const char *path, const CheckpointFile *files, int count, Error *error);

#endif
