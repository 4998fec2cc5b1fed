/* same_text.c: the last rank may have another text than the others.
 *
 *     mpirun -np N same_text same | line | shorter | longer
 */
#include <stdio.h>
#include <string.h>

#include "dist/comm/same_text.h"

int main(int argc, char **argv)
{
    World world = {0};
    Error error = {0};
    if (argc != 2 || world_start(&world, &error) != STATUS_OK) return 2;
    const bool same = strcmp(argv[1], "same") == 0 || world.size == 1;
    const char *text = "one: 1\ntwo: 2\n", *expected = NULL;
    if (strcmp(argv[1], "line") == 0)
        text = "one: 1\ntwo: 3\n", expected = "first in line 2:\n  two: 3\n  two: 2   on rank 0";
    if (strcmp(argv[1], "shorter") == 0) text = "one: 1\n", expected = "first in line 2:\n  \n  two: 2   on rank 0";
    if (strcmp(argv[1], "longer") == 0) text = "one: 1\ntwo: 2\n3", expected = "first in line 3:\n  3\n     on rank 0";
    if (world.rank != world.size - 1) text = "one: 1\ntwo: 2\n";
    Status status = world_same_text(&world, "things", text, STATUS_DATA, "make them alike", &error);
    char rank[MPI_MAX_PROCESSOR_NAME + 60];
    snprintf(rank, sizeof rank, "rank %d on %s has other things", world.size - 1, world.host);
    bool good = status == (same ? STATUS_OK : STATUS_DATA);
    if (!same) good = good && expected && strstr(error.message, rank) && strstr(error.message, expected);
    if (!good) fprintf(stderr, "rank %d: status %d, %s\n", world.rank, (int)status, error.message);
    world_end(&world);
    return !good;
}
