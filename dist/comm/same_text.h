/* same_text.h: whether all ranks were given the same.
 *
 *     status = world_same_text(world, "settings", text, STATUS_USAGE, "start every rank with the same file", error);
 *
 *     rank 1 on node7 has other settings than rank 0 on node3, first in line 65:
 *       seed: 8
 *       seed: 7   on rank 0
 *       hint: start every rank with the same file
 */
#ifndef DIST_COMM_SAME_TEXT_H
#define DIST_COMM_SAME_TEXT_H

#include "dist/comm/world.h"

/* Collective. STATUS_OK when every rank's text is that of rank 0, else `kind` on all ranks. */
Status world_same_text(const World *world, const char *what, const char *text, Status kind, const char *hint,
                       Error *error);

#endif
