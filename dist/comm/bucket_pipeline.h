/* bucket_pipeline.h: how the reducer's buckets are summed, in small steps that never wait. Only the reducer uses it.
 *
 * A bucket goes through these stages in one of EXCHANGE_LANES lanes, so that the next bucket's start fills the gaps of
 * the previous one's end:
 *
 *     arrive   all ranks of this node have the bucket's gradient in shared memory
 *     add      this rank sums its region of the bucket over them
 *     ring     the regions go round a ring between the nodes
 *     share    all regions of the bucket are done
 *
 * A ring over all ranks is the case of one rank per node: only the stage `ring`, in place.
 *
 *     exchange_begin(exchange);
 *     while (!exchange_done(exchange)) exchange_progress(exchange, buckets_ready, &moved, error);
 *
 * Callers see to it that one thread at a time is in here.
 */
#ifndef DIST_COMM_BUCKET_PIPELINE_H
#define DIST_COMM_BUCKET_PIPELINE_H

#include "core/base/arena.h"
#include "dist/comm/intranode.h"
#include "dist/comm/reducer.h"
#include "dist/comm/ring.h"
#include "dist/comm/topology.h"

enum { EXCHANGE_LANES = 2 }; /* a track of the timeline each */

typedef enum Stage { STAGE_FREE, STAGE_ARRIVE, STAGE_ADD, STAGE_RING, STAGE_SHARE } Stage;

typedef struct Lane {
    Stage stage;
    int bucket;
    RingPart region; /* what this rank carries */
    double entered;  /* when the stage began */
    int64_t added;   /* floats of the region that are summed over the node */
    RingPart *parts; /* of the ring */
    Ring ring;
    MPI_Request request; /* ALLREDUCE_MPI */
} Lane;

typedef struct Exchange {
    MPI_Comm comm; /* the caller's */
    Timeline *timeline;
    AllreduceKind kind; /* not AUTO */
    bool zero;
    int64_t count;
    Topology topology;
    Node node;   /* hierarchical; otherwise zeroed */
    Arena arena; /* otherwise: of own_grads, in large pages */
    float *own_grads;
    float *residual; /* error feedback of a narrow wire; else NULL */

    RingPart *buckets; /* from the end of the vector to its start */
    int bucket_count;
    uint32_t step;
    int announced, started, finished; /* buckets of this step */
    Lane lanes[EXCHANGE_LANES];

    Ring gather; /* zero: over all ranks */
    RingPart *slices;
} Exchange;

Status exchange_create(Exchange *exchange, const ReducerConfig *config, int64_t count, Error *error);
void exchange_free(Exchange *exchange); /* accepts a zeroed exchange; collective */

float *exchange_grads(Exchange *exchange);
const float *exchange_total(const Exchange *exchange);

void exchange_begin(Exchange *exchange);
/* `ready`: how many buckets of the step have their gradient. *moved is set when anything happened, never cleared. */
Status exchange_progress(Exchange *exchange, int ready, bool *moved, Error *error);
bool exchange_done(const Exchange *exchange);

/* The rank of the caller's communicator that the oldest bucket under way needs to hear from, and that bucket; -1 when
 * none is, or when MPI alone knows. */
int exchange_waits_for(const Exchange *exchange);
int exchange_oldest(const Exchange *exchange);

#endif
