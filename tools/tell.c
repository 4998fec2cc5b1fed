#include "tools/tell.h"

#include <stdio.h>

void tell_failure(const World *world, const char *command, Error *error)
{
    if (!world->started) return; /* alone: the program's end tells it */
    if (world->rank == 0 && error->message[0]) fprintf(stderr, "t2t %s: %s\n", command, error->message);
    error->message[0] = 0;
    world_barrier(world->comm);
}
