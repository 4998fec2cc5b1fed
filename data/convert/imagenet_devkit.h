/* imagenet_devkit.h: what the ILSVRC2012 devkit knows: classes with words, and the labels of the validation images.
 *
 * Looked for in a source's folder: ILSVRC2012_devkit_t12.tar.gz, or the same unpacked; or, for the labels alone,
 * val_wnids.txt: one WordNet id a line, in the order of the images' names.
 */
#ifndef DATA_CONVERT_IMAGENET_DEVKIT_H
#define DATA_CONVERT_IMAGENET_DEVKIT_H

#include <stdbool.h>
#include "data/convert/matfile.h"
#include "data/convert/source.h"

typedef struct Devkit {
    Synset *synsets; /* of the classes only */
    int synset_count;
    NameList val_wnids; /* of the validation images, in the order of their names */
} Devkit;

/* Leaves a zeroed Devkit where there is none. */
Status devkit_load(Devkit *devkit, const char *folder, Error *error);
void devkit_free(Devkit *devkit);                                 /* accepts a zeroed one */
const char *devkit_words(const Devkit *devkit, const char *wnid); /* NULL: unknown */

/* source_set_classes with the devkit's words. */
Status devkit_set_classes(const Devkit *devkit, Source *source, char *const *names, int count, Error *error);

/* Adds the images of ROOT/train/CLASS or ROOT/val/CLASS; nothing when there is no such folder. */
Status source_add_folders(Source *source, SourceSplitKind split, const Devkit *devkit, Error *error);

#endif
