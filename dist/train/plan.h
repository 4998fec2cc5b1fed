/* plan.h: how long a step takes on many nodes, from how long it takes on one: a model of cost, no measurement.
 *
 *     PlanJob job = {.network = plan_network("hdr200"), .nodes = 1024, .ranks_per_node = 8, ...};
 *     Plan plan;
 *     plan_make(&job, &plan);
 *
 * One step on each node: forward for a third of the computing time, then backward, which finishes the gradient from its end
 * on, in proportion to its length. Buckets are summed one after the other as they become ready: what backward does not
 * hide lengthens the step. With latency a and bandwidth b, N nodes sum a bucket of n bytes in
 *
 *     ring   2 (N-1) a + 2 (N-1)/N n/b
 *     tree   2 log2 N a + 2 (N-1)/N n/b, log2 N (a + n/b) when that is less; + 2 a + n/b for N between powers of two
 *
 * (Thakur, Rabenseifner, Gropp, IJHPCA 2005), where a and 1/b have a part of the processors', who look at the network and
 * sleep in between (plan.c). Within a node each leader reads what all ranks wrote. A step waits for the
 * slowest node: the nodes' computing times are normal numbers, and the mean of the largest of N is Blom's (1958).
 */
#ifndef DIST_TRAIN_PLAN_H
#define DIST_TRAIN_PLAN_H

#include <stdbool.h>
#include <stdint.h>

typedef struct PlanNetwork {
    const char *name, *description; /* with the source of the figures */
    double latency;                 /* seconds of a small MPI message, both ends included */
    double bandwidth;               /* bytes per second and direction of a node, as MPI reaches it */
} PlanNetwork;

const PlanNetwork *plan_network_at(int index);          /* NULL: beyond the last */
const PlanNetwork *plan_network(const char *name);      /* NULL: unknown */
const char *plan_network_name(const void *, int index); /* for suggest_name */

typedef struct PlanJob {
    PlanNetwork network;
    int nodes, cores, ranks_per_node;
    int64_t batch;          /* global */
    int64_t floats;         /* of the flat gradient */
    double image_seconds;   /* of forward, loss and backward, on one core, at the batch of a rank */
    double update_seconds;  /* of a rank's optimizer step on its own cores */
    double variability;     /* standard deviation of a node's computing time over its mean */
    double bucket_mb;       /* 0: the best of some */
    double memory_per_core; /* bytes per second that one core sums or copies */
    int64_t epoch_images, epochs;
} PlanJob;

typedef struct Plan {
    double compute, update, exposed, straggle, step; /* seconds; exposed: sums that nothing hides */
    double images_per_second;
    double efficiency; /* of nodes: the step of a lone node with the same images over this one */
    double hours, core_hours;
    double bucket_mb;
    bool tree;      /* else a ring is as good */
    int64_t images; /* of the fullest rank */
} Plan;

void plan_make(const PlanJob *job, Plan *plan);

#endif
