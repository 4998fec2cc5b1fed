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

typedef struct ImagenetDevkit {
    Synset *synsets; /* of the classes only */
    int synset_count;
    NameList val_wnids; /* of the validation images, in the order of their names */
} ImagenetDevkit;

/* Leaves a zeroed ImagenetDevkit where there is none. */
Status imagenet_devkit_load(ImagenetDevkit *devkit, const char *folder, Error *error);
void imagenet_devkit_free(ImagenetDevkit *devkit);                                 /* accepts a zeroed one */
const char *imagenet_devkit_words(const ImagenetDevkit *devkit, const char *wnid); /* NULL: unknown */

/* source_set_classes with the devkit's words. */
Status imagenet_devkit_set_classes(const ImagenetDevkit *devkit, Source *source, char *const *names, int count,
                                   Error *error);

/* Adds the images of ROOT/train/CLASS or ROOT/val/CLASS; nothing when there is no such folder. */
Status source_add_folders(Source *source, SourceSplitKind split, const ImagenetDevkit *devkit, Error *error);

#endif
