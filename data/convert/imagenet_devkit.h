/* imagenet_devkit.h: the labels of ILSVRC2012's validation images.
 *
 * Looked for in a source's folder: ILSVRC2012_devkit_t12.tar.gz, or the same unpacked, whose ground truth speaks of
 * ILSVRC2012_IDs; or val_wnids.txt: one WordNet id a line, in the order of the images' names. The devkit's own table of
 * classes, meta.mat, has to agree with imagenet_classes.h.
 */
#ifndef DATA_CONVERT_IMAGENET_DEVKIT_H
#define DATA_CONVERT_IMAGENET_DEVKIT_H

#include <stdbool.h>
#include "data/convert/source.h"

typedef struct ImagenetDevkit {
    NameList val_wnids; /* of the validation images, in the order of their names */
    bool official;      /* they come from the devkit: the classes are the 1,000 of ILSVRC2012 */
} ImagenetDevkit;

/* Leaves a zeroed ImagenetDevkit where there is none. */
Status imagenet_devkit_load(ImagenetDevkit *devkit, const char *folder, Error *error);
void imagenet_devkit_free(ImagenetDevkit *devkit); /* accepts a zeroed one */

#endif
