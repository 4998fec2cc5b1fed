/* tests/support/rooms, which `make lint` runs: the tree keeps its own rules, and breaking one is told with its line. */
#include <criterion/criterion.h>

#include "tests/support/tiny.h"

enum { SECONDS = 20 };

/* A copy of the rooms in which `break_it`, a shell command, was run; the script's status there must be 1. */
static void refused(const char *break_it, const char *text)
{
    Command command = command_run(SECONDS,
                                  "rm -rf '%s/tree' && mkdir '%s/tree' && cp -r core data dist tools '%s/tree' && "
                                  "(cd '%s/tree' && %s) && tests/support/rooms '%s/tree'",
                                  temporary_folder(), temporary_folder(), temporary_folder(), temporary_folder(),
                                  break_it, temporary_folder());
    EXPECT(command, 1, text);
}

Test(rooms, the_tree_keeps_its_rules)
{
    EXPECT(command_run(SECONDS, "tests/support/rooms && echo none"), 0, "none");
}

Test(rooms, a_room_includes_only_what_the_table_allows)
{
    refused("sed -i '1i #include \"dist/comm/world.h\"' core/base/file.c",
            "core/base/file.c:1:#include \"dist/comm/world.h\"   <- core/base may not include dist/comm");
    refused("mkdir core/extra && echo '#include \"core/base/file.h\"' >core/extra/new.c && touch core/extra/README.md",
            "core/extra/new.c:1:#include \"core/base/file.h\"   <- core/extra is no room");
}

Test(rooms, mpi_is_called_only_where_the_readme_says)
{
    refused("echo 'void f(void) { MPI_Barrier(MPI_COMM_WORLD); }' >>data/loader/loader.c",
            "MPI_Barrier(MPI_COMM_WORLD); }   <- only dist/comm calls MPI");
}

Test(rooms, a_function_has_a_name_of_its_own_in_its_room)
{
    refused("printf 'static int same(int x)\\n{\\n    return x;\\n}\\n' | tee -a core/base/file.c >>core/base/rng.c",
            "same is defined in core/base/");
}

Test(rooms, every_room_has_a_readme)
{
    refused("rm core/kernels/README.md", "core/kernels: no README.md");
}

Test(rooms, memory_time_and_paths_come_from_one_place)
{
    refused("echo 'void *f(void) { return malloc(1); }' >>dist/train/step.c",
            "void *f(void) { return malloc(1); }   <- core/base/memory.h allocates");
    refused("echo 'void f(struct timespec *t) { clock_gettime(CLOCK_REALTIME, t); }' >>data/loader/loader.c",
            "<- core/base/clock.h is the clock");
    refused("echo '    snprintf(path, sizeof path, \"%s/%s\", folder, name);' >>tools/convert.c",
            "<- core/base/path.h joins paths");
}
