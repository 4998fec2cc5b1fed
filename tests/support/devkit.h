/* devkit.h: meta.mat of an ILSVRC2012 devkit, as MATLAB writes it: one compressed array of structs. */
#ifndef TESTS_SUPPORT_DEVKIT_H
#define TESTS_SUPPORT_DEVKIT_H

#include <stddef.h>

/* rows: WordNet id and words; ILSVRC2012_ID is the place in it, from 1. The first `leaves` have no children: classes.
 * At most 100 rows of short texts. malloc'ed, the caller's; NULL: no memory. */
unsigned char *devkit_meta(const char *const (*rows)[2], int count, int leaves, size_t *size);

#endif
