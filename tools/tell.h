/* tell.h: the failure of ranks that have agreed on it, told once. */
#ifndef TOOLS_TELL_H
#define TOOLS_TELL_H

#include "dist/comm/world.h"

/* Collective, where MPI was started. Rank 0 prints the message, and no rank goes on before it has: the launcher ends all
 * when the first one exits, and what was not yet said is lost. The message is empty afterwards. */
void tell_failure(const World *world, const char *command, Error *error);

#endif
