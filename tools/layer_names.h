/* layer_names.h: the layers that a model tells while it is observed (core/model/observe.h), and what to say when a
 * pattern names none of them. */
#ifndef TOOLS_LAYER_NAMES_H
#define TOOLS_LAYER_NAMES_H

#include "core/model/observe.h"

enum { MAX_LAYER_NAMES = 512, LAYER_NAME = 96 };

typedef struct LayerNames {
    char items[MAX_LAYER_NAMES][LAYER_NAME];
    int count;
} LayerNames;

void layer_names_add(LayerNames *names,
                     const char *name); /* one that is there already, or one too many, is not added */

/* STATUS_USAGE: no layer of the model matches the pattern (fnmatch's), and which there are. Blocks are alike, so that
 * the first one stands for all. */
Status layer_names_none(const LayerNames *names, const ModelConfig *config, const char *pattern, Error *error);

#endif
