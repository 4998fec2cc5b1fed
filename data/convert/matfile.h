/* matfile.h: the table of synsets in the ILSVRC2012 devkit's meta.mat.
 *
 * A restricted reader of MATLAB's level 5 MAT-files (MathWorks, "MAT-File Format"): little-endian, with or without
 * compressed elements; it looks for the struct array `synsets` and takes ILSVRC2012_ID, WNID, words and num_children.
 */
#ifndef DATA_CONVERT_MATFILE_H
#define DATA_CONVERT_MATFILE_H

#include <stddef.h>
#include <stdint.h>
#include "core/base/status.h"

typedef struct Synset {
    int id;       /* ILSVRC2012_ID: 1 .. 1000 for the classes, above for their ancestors */
    int children; /* 0 for the classes */
    char wnid[16];
    char words[256]; /* UTF-8 */
} Synset;

/* *synsets is malloc'ed, the caller's; `name` is for messages. */
Status matfile_synsets(const void *bytes, size_t size, const char *name, Synset **synsets, int *count, Error *error);

#endif
