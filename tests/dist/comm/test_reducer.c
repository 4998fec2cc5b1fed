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
        {1, "tree fp32 1 0"},         {4, "tree fp32 0 1"},         {4, "tree fp32 1 1"},
        {3, "tree bf16 0 1"},         {5, "tree fp32 1 1"},         {6, "tree fp16 1 1"},
        {4, "tree fp32 0 2"},         {4, "tree fp32 1 2"},         {6, "tree bf16 1 2"},
        {5, "tree fp32 0 2"},         {3, "auto fp32 0 1"},         {4, "auto fp32 1 1"},
    };
    return cr_make_param_array(Case, cases, sizeof cases / sizeof cases[0]);
}

ParameterizedTestParameters(reducer, creation_fails_on_all_ranks_or_none)
{
    static Case cases[] = {{2, "auto fp32 0"}, {3, "hierarchical fp32 1"}, {3, "ring bf16 1"},
                           {2, "mpi fp32 0"},  {1, "ring bf16 0"},         {3, "tree fp32 1"}};
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
