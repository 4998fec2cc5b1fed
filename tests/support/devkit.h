/* devkit.h: meta.mat of an ILSVRC2012 devkit, as MATLAB writes it: one compressed array of structs. */
#ifndef TESTS_SUPPORT_DEVKIT_H
#define TESTS_SUPPORT_DEVKIT_H

#include <stddef.h>

/* The first `classes` of ILSVRC2012 in the order of their ids, then an ancestor of them. `twisted`, unless it is 0, is an
 * id that changes places with the one before. malloc'ed, the caller's; NULL: no memory. */
unsigned char *devkit_meta(int classes, int twisted, size_t *size);

#endif
