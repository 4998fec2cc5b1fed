#include "dist/train/plan.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "dist/comm/bucket_pipeline.h"

/* Bandwidths are what is left of the line rate, less framing; latencies those of MPI's small messages. */
static const PlanNetwork NETWORKS[] = {
    {"hdr200", "InfiniBand HDR, 200 Gb/s: 24 GB/s; 2 us assumed", 2e-6, 24e9},
    {"hdr100", "InfiniBand HDR100, 100 Gb/s: 11.5 GB/s; 2.5 us assumed", 2.5e-6, 11.5e9},
    {"slingshot", "Slingshot, 200 Gb/s: 23 GB/s; 2 us (De Sensi et al., arXiv 2008.08886)", 2e-6, 23e9},
    {"100gbe", "100 Gb/s Ethernet with RoCE: 11 GB/s; 5 us assumed", 5e-6, 11e9},
    {"25gbe", "25 Gb/s Ethernet, tcp: 2.9 GB/s; 20 us assumed", 20e-6, 2.9e9},
    {"10gbe", "10 Gb/s Ethernet, tcp: 1.15 GB/s; 25 us assumed", 25e-6, 1.15e9},
    {"1gbe", "1 Gb/s Ethernet, tcp: 0.12 GB/s as tests/net measures; 50 us assumed", 50e-6, 0.12e9},
};

const PlanNetwork *plan_network_at(int index)
{
    return index < (int)(sizeof NETWORKS / sizeof NETWORKS[0]) ? &NETWORKS[index] : NULL;
}

const char *plan_network_name(const void *context, int index)
{
    (void)context;
    const PlanNetwork *network = plan_network_at(index);
    return network ? network->name : NULL;
}

const PlanNetwork *plan_network(const char *name)
{
    for (int i = 0; plan_network_at(i); i++)
        if (strcmp(name, plan_network_at(i)->name) == 0) return plan_network_at(i);
    return NULL;
}

/* What the ranks' processors add to the network's part. A thread looks whether messages came; while the others compute, it
 * sleeps after a look in vain (reducer.c), and two buckets under way share its looks. Each message costs a look at either
 * end. */
static const double NAP = 25e-6, LOOK = 1e-6, MESSAGE = (double)WINDOW_LONG * sizeof(float);

static double round_seconds(const PlanJob *job, bool asleep)
{
    return job->network.latency + (asleep ? NAP : LOOK) / PIPELINE_SLOTS;
}

static double byte_seconds(const PlanJob *job)
{
    return 1 / job->network.bandwidth +
           2 * LOOK / MESSAGE / job->ranks_per_node; /* each leader looks for its own part */
}

static double volume(const PlanJob *job, double bytes)
{
    return 2.0 * (job->nodes - 1) / job->nodes * bytes * byte_seconds(job);
}

static double ring_seconds(const PlanJob *job, double bytes, bool asleep)
{
    return 2.0 * (job->nodes - 1) * round_seconds(job, asleep) + volume(job, bytes);
}

static double tree_seconds(const PlanJob *job, double bytes, bool asleep)
{
    const double round = round_seconds(job, asleep), sent = bytes * byte_seconds(job);
    double levels = floor(log2(job->nodes)), pairs = 0;
    if (job->nodes > 1 && exp2(levels) != job->nodes) pairs = 2 * round + sent;
    return pairs + fmin(2 * levels * round + volume(job, bytes), levels * (round + sent));
}

/* The sum of a bucket, a part of it by each leader: what all ranks of a node wrote is read and the sum written, then sent. */
static double bucket_seconds(const PlanJob *job, double bytes, bool tree, bool asleep)
{
    double within = 0;
    if (job->ranks_per_node > 1)
        within = (job->ranks_per_node + 1) * bytes / job->ranks_per_node / job->memory_per_core;
    if (job->nodes == 1) return within;
    return within + (tree ? tree_seconds(job, bytes, asleep) : ring_seconds(job, bytes, asleep));
}

/* When a bucket's sum ends that begins at `begin`: naps end with the computing. */
static double bucket_end(const PlanJob *job, double begin, double compute, double bytes, bool tree)
{
    const double asleep = bucket_seconds(job, bytes, tree, true), awake = bucket_seconds(job, bytes, tree, false);
    if (begin >= compute) return begin + awake;
    if (begin + asleep <= compute) return begin + asleep;
    return compute + (1 - (compute - begin) / asleep) * awake;
}

/* What is left of the sums when backward is over. */
static double exposed(const PlanJob *job, double compute, double bucket_mb, bool tree)
{
    double end = 0;
    for (int64_t left = job->floats; left > 0;) {
        int64_t next = bucket_next(job->floats, left, bucket_mb);
        double ready = compute / 3 + compute * 2 / 3 * (1 - (double)next / (double)job->floats);
        end = bucket_end(job, fmax(end, ready), compute, (double)(left - next) * sizeof(float), tree);
        left = next;
    }
    return fmax(end - compute, 0);
}

static const double WORTH_IT = 0.002; /* of the computing time */

static void choose(const PlanJob *job, Plan *plan)
{
    static const double SIZES[] = {8, 1, 2, 4, 16, 32, 64, 128}; /* MB; another than the usual one has to be worth it */
    plan->exposed = INFINITY;
    for (size_t i = 0; i < sizeof SIZES / sizeof SIZES[0]; i++)
        for (int tree = 1; tree >= 0; tree--) {
            double bucket = job->bucket_mb > 0 ? job->bucket_mb : SIZES[i];
            double seconds = exposed(job, plan->compute, bucket, tree);
            if (seconds >= plan->exposed - WORTH_IT * plan->compute) continue;
            plan->exposed = seconds;
            plan->bucket_mb = bucket;
            plan->tree = tree;
        }
}

/* Mean of the largest of n standard normal numbers, by Blom's plotting position (n - 3/8) / (n + 1/4). */
static double largest_normal(int n)
{
    double low = 0, high = 10, tail = 0.625 / (n + 0.25);
    if (n == 1) return 0;
    for (int i = 0; i < 50; i++) {
        double middle = (low + high) / 2;
        if (erfc(middle / sqrt(2)) / 2 > tail)
            low = middle;
        else
            high = middle;
    }
    return low;
}

void plan_make(const PlanJob *job, Plan *plan)
{
    int64_t ranks = (int64_t)job->nodes * job->ranks_per_node;
    double rank_cores = (double)job->cores / job->ranks_per_node;
    *plan = (Plan){.images = (job->batch + ranks - 1) / ranks, .update = job->update_seconds};
    plan->compute = (double)plan->images * job->image_seconds / rank_cores;
    plan->straggle = job->variability * largest_normal(job->nodes) * plan->compute;
    choose(job, plan);
    plan->step = plan->compute + plan->straggle + plan->exposed + plan->update;
    plan->images_per_second = (double)job->batch / plan->step;

    PlanJob lone = *job;
    lone.nodes = 1;
    Plan alone = {.compute = plan->compute};
    choose(&lone, &alone);
    plan->efficiency = (alone.compute + alone.exposed + plan->update) / plan->step;
    double seconds = (double)(job->epoch_images / job->batch * job->epochs) * plan->step;
    plan->hours = seconds / 3600;
    plan->core_hours = plan->hours * job->nodes * job->cores;
}
