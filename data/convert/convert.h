/* convert.h: from a source of images to a data set (dataset.h).
 *
 * What is written is a pure function of source and options: the training images are shuffled by the seed and dealt to
 * shards, each shard's bytes depend on its images alone. So any number of processes and threads may share the shards,
 * and an interrupted conversion goes on where it was: a finished shard is kept when its done marker (DEST/.partial/
 * SHARD.json) fits the plan and the file's hash fits the marker.
 *
 *     Convert *convert;
 *     Status status = convert_create(&convert, &config, error);     // indexes the source, makes the plan
 *     if (!status) status = convert_run(convert, error);            // this process's shards; once in every process
 *     ... all processes have come here ...
 *     if (!status && config.rank == 0) status = convert_finish(convert, error);    // rejected.tsv, manifest.json
 *     convert_free(convert);
 *
 * Two conversions at once into one folder are not possible: the first process holds a lock (convert_lock.h) from
 * convert_create until the data set is finished. Names of classes have to be UTF-8.
 *
 * Memory: the index (about 100 bytes an image) and, per thread, some 20 MiB and one image.
 */
#ifndef DATA_CONVERT_CONVERT_H
#define DATA_CONVERT_CONVERT_H

#include <stdbool.h>
#include <stdint.h>
#include "core/base/status.h"
#include "data/image/image.h"

typedef struct ConvertProgress {
    int64_t images, total; /* of this process */
    int64_t rejected;
    int64_t kept;  /* in shards of an earlier attempt */
    int64_t bytes; /* written */
} ConvertProgress;

typedef struct ConvertConfig {
    const char *source;      /* NULL with synthetic */
    const char *dest;        /* folder; made when it is not there */
    const char *class_names; /* NULL, or a file with one name a line, in the place of the source's */
    int64_t synthetic;       /* > 0: draw that many training images instead of reading a source */
    int64_t limit;           /* > 0: at most so many images of each split, for a trial */
    int shards;              /* of the training split; 0: by shard_size */
    int64_t shard_size;      /* bytes, about */
    uint64_t seed;
    int resize;         /* shorter side at most this; 0: original bytes */
    int quality;        /* of JPEGs that are encoded here: 1 .. 100 */
    ImageFormat encode; /* for sources of bare pixels; IMAGE_UNKNOWN: the source's default */
    bool strict;        /* a broken image ends the conversion */
    bool decode;        /* decode every image, not only check its structure */
    int threads;
    int rank, ranks;
    void (*progress)(void *context, const ConvertProgress *progress); /* from any thread, one at a time; may be NULL */
    void *context;
} ConvertConfig;

void convert_defaults(ConvertConfig *config);

typedef struct Convert Convert;
Status convert_create(Convert **convert, const ConvertConfig *config, Error *error);
void convert_free(Convert *convert);          /* accepts NULL */
bool convert_is_done(const Convert *convert); /* an earlier run finished this very conversion: nothing is left to do */
/* Whether nobody else can convert into the folder: in the first process, unless it is done. A file system without locks
 * cannot promise it. */
bool convert_is_locked(const Convert *convert);
/* Folders of the source that hold no split, as "NAME: why"; NULL past the last. */
const char *convert_left_out(const Convert *convert, int index);
int64_t convert_images(const Convert *convert); /* of all processes */
Status convert_run(Convert *convert, Error *error);
Status convert_finish(Convert *convert, Error *error);

#endif
