#include <criterion/criterion.h>

#include "tests/support/tiny.h"

static void run_coordinator(int ranks, const char *program, const char *kind)
{
    char data[600], arguments[1500];
    snprintf(data, sizeof data, "%.500s/data", temporary_folder());
    snprintf(arguments, sizeof arguments, "%s %s %.500s/%d", kind, data, temporary_folder(), ranks);
    SUCCEEDS(command_run(5, "mkdir %s/%d", temporary_folder(), ranks));
    tiny_dataset(data, 10, 37);
    mpi_test(ranks, program, arguments);
}

TestSuite(coordinator, .timeout = 120);

Test(coordinator, lives_and_goes_on_where_the_ranks_themselves_do_the_work)
{
    run_coordinator(1, "coordinator", "local");
    run_coordinator(3, "coordinator", "local");
}

Test(coordinator, lives_and_goes_on_where_a_rank_of_its_own_does_the_work)
{
    run_coordinator(2, "coordinator", "remote");
    run_coordinator(3, "coordinator", "remote");
}

Test(coordinator, a_server_answers_each_request_as_the_protocol_says)
{
    run_coordinator(2, "coordinator_server", "");
}
