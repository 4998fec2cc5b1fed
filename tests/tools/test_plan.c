/* The model of cost, and the command around it. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <math.h>

#include "dist/train/plan.h"
#include "tests/support/tiny.h"

static PlanJob job_on(const char *network, int nodes, int64_t batch)
{
    return (PlanJob){.network = *plan_network(network),
                     .nodes = nodes,
                     .cores = 64,
                     .ranks_per_node = 1,
                     .batch = batch,
                     .floats = 21500000,
                     .image_seconds = 0.031 * 16 / 0.96, /* 31 GFLOP at 60 GFLOP/s */
                     .memory_per_core = 7e9,
                     .epoch_images = 1281167,
                     .epochs = 310};
}

Test(plan, one_node_needs_no_network)
{
    PlanJob job = job_on("10gbe", 1, 512);
    Plan plan;
    plan_make(&job, &plan);
    cr_assert_eq(plan.exposed, 0);
    cr_assert_float_eq(plan.efficiency, 1, 1e-12);
    cr_assert_float_eq(plan.compute, 512 * job.image_seconds / 64, 1e-9);
    cr_assert_float_eq(plan.hours * 3600, 1281167 / 512 * 310 * plan.step, 1);
}

Test(plan, many_nodes_want_the_tree_and_a_faster_network_is_no_slower)
{
    static const char *const SLOWER[] = {"hdr200", "hdr100", "100gbe", "25gbe", "10gbe", "1gbe"};
    double before = 0;
    for (size_t i = 0; i < sizeof SLOWER / sizeof SLOWER[0]; i++) {
        PlanJob job = job_on(SLOWER[i], 1024, 8192);
        Plan plan;
        plan_make(&job, &plan);
        cr_assert(plan.tree, "%s", SLOWER[i]);
        cr_assert_geq(plan.step, before, "%s", SLOWER[i]);
        before = plan.step;
    }
}

/* A gradient in one bucket that nothing hides takes what the formula says. */
Test(plan, a_sum_takes_latencies_and_volume)
{
    PlanJob job = job_on("25gbe", 8, 8);
    Plan plan;
    job.image_seconds = 0;
    job.bucket_mb = 1000;
    plan_make(&job, &plan);
    /* Half a look a round; a look at either end of a message of 245,760 bytes. */
    double tree = 6 * (20e-6 + 0.5e-6) + 2 * 7. / 8 * 21500000 * 4 * (1 / 2.9e9 + 2e-6 / 245760);
    cr_assert_float_eq(plan.exposed, tree, 1e-9);
}

/* While the node computes, each round of a bucket waits for a thread that naps: what it costs grows with the number of
 * buckets, not with their size. */
Test(plan, naps_between_looks_make_small_buckets_dear)
{
    PlanJob job = job_on("hdr200", 1024, 4096);
    Plan plan, small;
    job.image_seconds = 0.27;
    plan_make(&job, &plan);
    job.bucket_mb = 1;
    plan_make(&job, &small);
    cr_expect_geq(plan.bucket_mb, 4, "%g MB", plan.bucket_mb);
    cr_expect_gt(small.exposed, 3 * plan.exposed, "%g and %g s", small.exposed, plan.exposed);
}

/* The exact means of the largest of 2, 8 and 1,000 standard normal numbers. */
Test(plan, a_step_waits_for_the_slowest_node)
{
    static const double EXACT[][2] = {{2, 0.5642}, {8, 1.4236}, {1000, 3.2414}};
    for (size_t i = 0; i < sizeof EXACT / sizeof EXACT[0]; i++) {
        PlanJob job = job_on("hdr200", (int)EXACT[i][0], 8192);
        Plan plan;
        job.variability = 0.05;
        plan_make(&job, &plan);
        cr_assert_float_eq(plan.straggle / plan.compute / 0.05, EXACT[i][1], 0.03, "%g nodes", EXACT[i][0]);
    }
}

Test(plan, json_has_a_row_for_each_count_of_nodes, .timeout = 60)
{
    Command command = command_run(50, T2T " plan --nodes 16 --curve --image-us 500000 --network hdr200 --json");
    cr_assert_eq(command.exit_status, 0, "%s", command.output);
    json_t *rows = json_loads(command.output, 0, NULL), *row;
    cr_assert_eq(json_array_size(rows), 5);
    size_t index;
    json_array_foreach(rows, index, row)
    {
        cr_assert_eq(json_integer_value(json_object_get(row, "nodes")), 1 << index);
        double step = json_number_value(json_object_get(row, "step_ms"));
        double images = json_number_value(json_object_get(row, "images_per_s"));
        cr_assert_float_eq(images, 512 / step * 1e3, 1e-3 * images);
    }
    json_decref(rows);
    command_free(&command);
}

Test(plan, measures_this_machine, .timeout = 60)
{
    EXPECT(command_run(50, T2T " plan --model t2t_vit_7 --set img_size=32 --nodes 2 --cores 2 --set batch_size=8"), 0,
           "t2t_vit_7, batch 8", "effic.", " MB");
}

Test(plan, wrong_options_are_usage_errors)
{
    EXPECT(command_run(20, T2T " plan --network hdr201 --image-us 1"), 2, "hdr201", "did you mean hdr200");
    EXPECT(command_run(20, T2T " plan --nodes 600 --image-us 1"), 2, "600 ranks", "larger batch");
    EXPECT(command_run(20, T2T " plan --nodes 0"), 2, "nodes");
}
