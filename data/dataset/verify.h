/* verify.h: proving a data set: that every file is the one that was written and every record can be used.
 *
 * Checked: manifest.json; each shard's size and hash; each record's header, hash and label; each image's structure, or
 * its pixels (decode); that the images add up to the manifest's counts. Damage does not end the check: each thing found
 * is told, and the rest still looked at.
 */
#ifndef DATA_DATASET_VERIFY_H
#define DATA_DATASET_VERIFY_H

#include <stdbool.h>
#include <stdint.h>
#include "core/base/status.h"

typedef struct VerifyCounts {
    int64_t images, total; /* looked at; in the manifest */
    int64_t problems;
} VerifyCounts;

typedef struct VerifyOptions {
    bool decode;
    int threads;
    /* Both may be NULL; from any thread, one at a time. `problem` is one line or a few. */
    void (*found)(void *context, const char *problem);
    void (*progress)(void *context, const VerifyCounts *counts);
    void *context;
} VerifyOptions;

/* STATUS_DATA when there is any problem. */
Status dataset_verify(const char *folder, const VerifyOptions *options, VerifyCounts *counts, Error *error);

#endif
