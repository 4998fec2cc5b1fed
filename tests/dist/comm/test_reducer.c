#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include "tests/support/command.h"

/* Ranks, then what tests/mpi/reducer.c takes: kind, wire, zero, ranks per node; or tests/mpi/creation.c, the first
 * three. */
typedef struct Case {
    int ranks;
    char arguments[48];
} Case;

ParameterizedTestParameters(reducer, steps)
{
    static Case cases[] = {
        {1, "auto fp32 0 0"},         {1, "ring bf16 1 0"},         {2, "ring fp32 0 0"},
        {3, "ring fp32 1 0"},         {4, "ring bf16 0 0"},         {3, "ring fp16 1 0"},
        {2, "mpi fp32 0 0"},          {3, "mpi fp32 1 0"},          {2, "auto fp32 0 0"},
        {4, "hierarchical fp32 0 0"}, {4, "hierarchical fp32 1 0"}, {4, "hierarchical fp32 0 2"},
        {5, "hierarchical fp32 1 2"}, {3, "hierarchical bf16 0 2"}, {4, "hierarchical fp16 1 2"},
    };
    return cr_make_param_array(Case, cases, sizeof cases / sizeof cases[0]);
}

ParameterizedTestParameters(reducer, creation_fails_on_all_ranks_or_none)
{
    static Case cases[] = {
        {2, "auto fp32 0"}, {3, "hierarchical fp32 1"}, {3, "ring bf16 1"}, {2, "mpi fp32 0"}, {1, "ring bf16 0"}};
    return cr_make_param_array(Case, cases, sizeof cases / sizeof cases[0]);
}

ParameterizedTest(Case *test, reducer, creation_fails_on_all_ranks_or_none)
{
    mpi_test(test->ranks, "creation", test->arguments);
}

ParameterizedTest(Case *test, reducer, steps)
{
    mpi_test(test->ranks, "reducer", test->arguments);
}
