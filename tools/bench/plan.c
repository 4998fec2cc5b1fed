/* plan.c: `t2t plan`: what a training takes on so many nodes, before anybody allocates them. */
#include "dist/train/plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/base/median.h"
#include "core/base/memory.h"
#include "core/base/suggest.h"
#include "tools/args.h"
#include "tools/bench/bench_model.h"
#include "tools/tools.h"

static const char USAGE[] = "usage: t2t plan [--model NAME | --config FILE] --nodes N [--option value ...]\n\n"
                            "Tells what a run of a configuration takes on nodes of a cluster: memory, images/s, hours, "
                            "efficiency; and which way\n"
                            "to sum, which buckets, how many ranks on a node. Computing is measured here, at the batch "
                            "that each rank will have,\n"
                            "and taken to grow with the cores; the network is one of the presets below; "
                            "dist/train/plan.h has the formulas.\n\n";

static const char NOTES[] =
    "\nEfficiency compares with a lone node that has as many images. A plan is as good as its measurement: run it on a "
    "node\n"
    "of the cluster in question, or give --image-us of one. `tests/simgrid/run` holds it against a simulation.\n\n"
    "networks:\n";

enum { CORES_OF_A_RANK = 8, MEASURED_STEPS = 3, MOST_MEASURED = 16, MOST_NODES = 1 << 17 };
static const double MEMORY_PER_CORE = 7e9; /* one core's memcpy, dist/comm/README.md's machine */

typedef struct PlanArguments {
    Settings settings;
    Config config;
    int nodes, cores, ranks, image_us, update_us, variability, latency_ns, mb_per_s;
    int64_t images;
    const char *network;
    bool curve, json;
} PlanArguments;

typedef struct Measurement { /* of one rank's batch */
    int64_t batch;
    double image_seconds, update_seconds; /* on one core */
    double activations, vectors;          /* bytes; of an image, and of the rank */
} Measurement;

static void list_networks(FILE *out)
{
    for (int i = 0; plan_network_at(i); i++)
        fprintf(out, "  %-10s %s\n", plan_network_at(i)->name, plan_network_at(i)->description);
}

static Status plan_parse(int argc, char **argv, PlanArguments *arguments, Operands *operands, Error *error)
{
    Settings *settings = &arguments->settings;
    const Arg args[] = {
        ARG_MODEL(settings, "a published model and its recipe's defaults (default t2t_vit_14)"),
        ARG_CONFIG(settings, "or a configuration file: model, batch_size, epochs, bucket_mb ..."),
        ARG_SET(settings, "a change to it, such as batch_size=4096; may be repeated"),
        ARG_INT("nodes", "N", &arguments->nodes, "nodes that train (1)", 1, MOST_NODES),
        ARG_INT("cores", "N", &arguments->cores, "cores of a node (64)", 1, 1 << 12),
        ARG_INT("ranks-per-node", "N", &arguments->ranks, "(default: one for each 8 cores, but none without an image)",
                1, 1 << 12),
        ARG_TEXT("network", "NAME", &arguments->network, "one of the list below (hdr100)"),
        ARG_INT("latency-ns", "N", &arguments->latency_ns, "the network's latency instead of the preset's", 1,
                1000000000),
        ARG_INT("mb-per-s", "N", &arguments->mb_per_s, "its bandwidth, in millions of bytes each way", 1, 1000000),
        ARG_INT("variability", "PERCENT", &arguments->variability, "standard deviation of a node's computing time (2)",
                0, 100),
        ARG_NUMBER("images", "N", &arguments->images, "training images (1281167)", 1, INT64_C(1) << 40),
        ARG_INT("image-us", "N", &arguments->image_us,
                "microseconds of a training image on one core, instead of measuring; memory is then not told", 1,
                2000000000),
        ARG_INT("update-us", "N", &arguments->update_us, "of an update on one core, beside --image-us (0)", 0,
                2000000000),
        ARG_FLAG("curve", &arguments->curve, "1, 2, 4 ... up to so many nodes, the batch as it is"),
        ARG_FLAG("json", &arguments->json, "an array of objects"),
        {0},
    };
    const CommandLine line = {
        .name = "t2t plan", .usage = USAGE, .notes = NOTES, .args = args, .more_help = list_networks};
    return args_parse(&line, argc, argv, operands, error);
}

/* ---- this machine */

static Status time_steps(BenchModel *bench, Measurement *found, Error *error)
{
    double computing[MEASURED_STEPS], updating[MEASURED_STEPS];
    for (int i = -1; i < MEASURED_STEPS; i++) {
        double begin = clock_seconds();
        bench_model_gradients(bench, &bench->step);
        double middle = clock_seconds();
        Status status = bench_model_update(&bench->step, error);
        if (status) return status;
        if (i < 0) continue;
        computing[i] = middle - begin;
        updating[i] = clock_seconds() - middle;
    }
    double threads = pool_threads(bench->pool);
    found->image_seconds = median_of(computing, MEASURED_STEPS) * threads / (double)found->batch;
    found->update_seconds = median_of(updating, MEASURED_STEPS) * threads;
    found->activations = (double)model_memory(bench->step.model) / (double)found->batch;
    found->vectors = (double)bench->step.arena.size;
    return STATUS_OK;
}

/* A batch larger than a few images costs each of them alike; memory grows with it. */
static Status measure_images(const PlanArguments *arguments, int64_t images, Measurement *found, Error *error)
{
    int64_t batch = images < MOST_MEASURED ? images : MOST_MEASURED;
    if (arguments->image_us > 0) {
        *found =
            (Measurement){.image_seconds = 1e-6 * arguments->image_us, .update_seconds = 1e-6 * arguments->update_us};
        return STATUS_OK;
    }
    if (found->batch == batch) return STATUS_OK;
    *found = (Measurement){.batch = batch};
    BenchModelSetup setup = {.config = arguments->config, .batch = (int)batch};
    BenchModel bench = {0};
    setup.config.reproducible = 0;
    Status status = bench_model_create(&bench, &setup, error);
    if (!status) status = time_steps(&bench, found, error);
    bench_model_free(&bench);
    return status;
}

/* ---- the plan */

static int ranks_on_node(const PlanArguments *arguments, int nodes)
{
    if (arguments->ranks > 0) return arguments->ranks;
    int64_t ranks = arguments->cores / CORES_OF_A_RANK, images = arguments->config.batch_size / nodes;
    if (ranks > images) ranks = images;
    return ranks > 0 ? (int)ranks : 1;
}

static void print_plan(const PlanArguments *arguments, const PlanJob *job, const Plan *plan, const Measurement *found,
                       bool first)
{
    double memory = found->activations * (double)plan->images + found->vectors + 4 * (double)job->floats;
    const char *way = job->nodes == 1 ? "-" : plan->tree ? "tree" : "ring";
    if (arguments->json) {
        printf("%s\n  {\"model\": \"%s\", \"network\": \"%s\", \"latency_ns\": %.6g, \"mb_per_s\": %.6g, \"nodes\": "
               "%d, \"cores\": %d, \"ranks_per_node\": %d, "
               "\"batch\": %" PRId64 ", \"images_per_rank\": %" PRId64 ", \"image_core_us\": %.6g, "
               "\"compute_ms\": %.5g, \"straggle_ms\": %.5g, \"exposed_ms\": %.5g, \"update_ms\": %.5g, "
               "\"step_ms\": %.5g, \"images_per_s\": %.5g, \"efficiency\": %.4f, \"hours\": %.5g, "
               "\"core_hours\": %.6g, \"allreduce\": \"%s\", \"bucket_mb\": %g",
               first ? "[" : ",", arguments->config.model.name, job->network.name, 1e9 * job->network.latency,
               1e-6 * job->network.bandwidth, job->nodes, job->cores, job->ranks_per_node, job->batch, plan->images,
               1e6 * job->image_seconds, 1e3 * plan->compute, 1e3 * plan->straggle, 1e3 * plan->exposed,
               1e3 * plan->update, 1e3 * plan->step, plan->images_per_second, plan->efficiency, plan->hours,
               plan->core_hours, way, plan->bucket_mb);
        if (found->batch) printf(", \"memory_mb\": %.0f", memory / (1 << 20));
        printf("}");
        return;
    }
    if (first)
        printf("%6s %6s %7s %9s %8s %8s %8s %9s %6s %8s %11s %5s %6s %8s\n", "nodes", "ranks", "images", "compute",
               "slowest", "sums", "update", "images/s", "effic.", "hours", "core-hours", "way", "bucket", "memory");
    printf("%6d %6d %7" PRId64 " %9.1f %8.1f %8.2f %8.1f %9.0f %6.3f %8.1f %11.0f %5s %4.3g MB ", job->nodes,
           job->nodes * job->ranks_per_node, plan->images, 1e3 * plan->compute, 1e3 * plan->straggle,
           1e3 * plan->exposed, 1e3 * plan->update, plan->images_per_second, plan->efficiency, plan->hours,
           plan->core_hours, way, plan->bucket_mb);
    if (found->batch)
        printf("%5.0f MB\n", memory / (1 << 20));
    else
        printf("%8s\n", "-");
}

static Status plan_nodes(const PlanArguments *arguments, const PlanNetwork *network, int64_t floats, int nodes,
                         Measurement *found, bool first, Error *error)
{
    const Config *config = &arguments->config;
    PlanJob job = {.network = *network,
                   .nodes = nodes,
                   .cores = arguments->cores,
                   .ranks_per_node = ranks_on_node(arguments, nodes),
                   .batch = config->batch_size,
                   .floats = floats,
                   .variability = arguments->variability / 100.0,
                   .memory_per_core = MEMORY_PER_CORE,
                   .epoch_images = arguments->images,
                   .epochs = schedule_total_epochs(&config->schedule)};
    int64_t ranks = (int64_t)nodes * job.ranks_per_node;
    if (ranks > config->batch_size)
        return error_set(error, STATUS_USAGE,
                         "%" PRId64 " ranks have no image each in a batch_size of %" PRId64
                         ": fewer nodes, fewer --ranks-per-node, or a larger batch",
                         ranks, config->batch_size);
    Status status = measure_images(arguments, (config->batch_size + ranks - 1) / ranks, found, error);
    if (status) return status;
    job.image_seconds = found->image_seconds;
    job.update_seconds = found->update_seconds / ((double)job.cores / job.ranks_per_node);
    Plan plan;
    plan_make(&job, &plan);
    print_plan(arguments, &job, &plan, found, first);
    fflush(stdout);
    return STATUS_OK;
}

static Status find_network(const PlanArguments *arguments, PlanNetwork *network, Error *error)
{
    const PlanNetwork *preset = plan_network(arguments->network);
    if (!preset) {
        const char *nearest = suggest_name(arguments->network, plan_network_name, NULL);
        return error_set(error, STATUS_USAGE, "--network %s: no such preset%s%s (t2t plan --help lists them)",
                         arguments->network, nearest ? "; did you mean " : "", nearest ? nearest : "");
    }
    *network = *preset;
    if (arguments->latency_ns > 0) network->latency = 1e-9 * arguments->latency_ns;
    if (arguments->mb_per_s > 0) network->bandwidth = 1e6 * arguments->mb_per_s;
    return STATUS_OK;
}

static void print_heading(const PlanArguments *arguments, const PlanNetwork *network)
{
    printf("%s, batch %" PRId64 ", nodes of %d cores, %s: %.3g us, %.3g GB/s; times in ms\n",
           arguments->config.model.name, arguments->config.batch_size, arguments->cores, network->name,
           1e6 * network->latency, 1e-9 * network->bandwidth);
}

static Status plan_all(PlanArguments *arguments, Error *error)
{
    ParamTable table = {0};
    PlanNetwork network;
    Measurement found = {0};
    Status status = find_network(arguments, &network, error);
    if (!status) status = settings_load(&arguments->settings, &arguments->config, error);
    if (!status) status = params_build(&table, &arguments->config.model, error);
    if (!status && !arguments->json) print_heading(arguments, &network);
    int nodes = arguments->curve ? 1 : arguments->nodes;
    for (bool first = true; !status && nodes <= arguments->nodes; first = false, nodes *= 2)
        status = plan_nodes(arguments, &network, table.size, nodes, &found, first, error);
    if (!status && arguments->json) printf("\n]\n");
    params_free(&table);
    return status;
}

Status tool_plan(int argc, char **argv, Error *error)
{
    PlanArguments *arguments = memory_alloc(1, sizeof *arguments, "the options", error);
    if (!arguments) return STATUS_FAILED;
    *arguments = (PlanArguments){.nodes = 1, .cores = 64, .variability = 2, .images = 1281167, .network = "hdr100"};
    Operands operands;
    Status status = plan_parse(argc, argv, arguments, &operands, error);
    if (!status && !operands.helped) status = plan_all(arguments, error);
    free(arguments);
    return status;
}
