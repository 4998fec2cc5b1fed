/* bucket_pipeline.h: how the reducer's buckets are summed, in small steps that never wait. Only the reducer uses it.
 *
 * A bucket goes through these stages in one of PIPELINE_SLOTS slots, so that the next bucket's start fills the gaps of
 * the previous one's end:
 *
 *     wait local     all ranks of this node have the bucket's gradient in shared memory
 *     local reduce   this rank sums its region of the bucket over them, if it is a node leader
 *     inter-node     the regions are summed between the nodes, by a ring or a tree
 *     local sync     all regions of the bucket are done
 *
 * A ring or tree over all ranks is the case of one rank per node: only the stage `inter-node`, in place.
 *
 *     bucket_pipeline_begin(pipeline);
 *     while (!bucket_pipeline_done(pipeline)) bucket_pipeline_progress(pipeline, buckets_ready, &moved, error);
 *
 * Callers see to it that one thread at a time is in here.
 */
#ifndef DIST_COMM_BUCKET_PIPELINE_H
#define DIST_COMM_BUCKET_PIPELINE_H

#include "core/base/arena.h"
#include "dist/comm/intranode.h"
#include "dist/comm/settings.h"
#include "dist/comm/timeline.h"
#include "dist/comm/topology.h"
#include "dist/comm/tree.h"

enum { PIPELINE_SLOTS = 2, PIPELINE_REPORT = 320 };
_Static_assert(PIPELINE_SLOTS == TIMELINE_TRACKS - TIMELINE_SLOT0, "each slot has a track of the timeline");

/* The sum of one bucket's region between nodes: round a ring or over a tree, whichever its size calls for. */
typedef struct Internode {
    Ring ring;
    Tree tree;
    bool by_tree;        /* the sum under way */
    RingPart *parts;     /* (ranks) of the ring */
    int64_t *bounds;     /* (places + 1) of the tree */
    int64_t *slice_ends; /* (ranks) */
} Internode;

typedef enum Stage { STAGE_FREE, STAGE_WAIT_LOCAL, STAGE_LOCAL_REDUCE, STAGE_INTER_NODE, STAGE_LOCAL_SYNC } Stage;

typedef struct BucketSlot {
    Stage stage;
    int bucket;
    RingPart region; /* what this rank sums, as a node leader */
    double entered;  /* when the stage began */
    int64_t reduced; /* floats of the region that are summed over the node */
    Internode between;
    MPI_Request request; /* ALLREDUCE_MPI */
} BucketSlot;

typedef struct BucketPipeline {
    MPI_Comm comm; /* the caller's */
    Timeline *timeline;
    AllreduceKind kind; /* the caller's */
    bool shared;        /* ranks of a node sum through shared memory */
    bool zero;
    bool balanced;
    int64_t ring_from; /* floats of a region from which on the ring sums it between nodes, below the tree */
    char measured[PIPELINE_REPORT]; /* what ring_from was chosen by; "": nothing had to be measured */
    int64_t count;
    Topology topology;
    ShmWindow shm;   /* shared; otherwise zeroed */
    Arena arena;     /* otherwise: of grads, in large pages */
    float *grads;    /* what backward of this rank fills */
    float *total;    /* the sum: grads themselves, or what the ranks of a node share */
    float *residual; /* error feedback of a narrow wire; else NULL */

    bool is_leader;   /* this rank sums regions */
    int leader_count; /* of a node */
    int leader_index; /* which leader's region is this rank's: in the order of a tree over all ranks */
    MPI_Comm between; /* those among whom a region is summed */
    int between_size, between_rank;
    RingPart leader_slices; /* all that this rank's leaders, one of each node, own slices of */

    RingPart *buckets; /* from the end of the vector to its start */
    int bucket_count;
    uint32_t step;
    int announced, started, finished; /* buckets of this step */
    BucketSlot slots[PIPELINE_SLOTS];

    Internode gather; /* zero: over all ranks */
    RingPart *slices; /* [rank of flat] */
    bool tree_slices; /* they lie in the order of tree_slice */
} BucketPipeline;

typedef struct BucketPipelineConfig { /* as ReducerConfig in reducer.h says */
    MPI_Comm comm;
    AllreduceKind kind;
    double bucket_mb;
    WireType wire;
    bool zero;
    bool balanced;
    int ranks_per_node;
    Timeline *timeline;
} BucketPipelineConfig;

/* Where the bucket begins that ends at `left`, of a vector of `count` floats: the first one ends at count. */
int64_t bucket_next(int64_t count, int64_t left, double bucket_mb);

Status bucket_pipeline_create(BucketPipeline *pipeline, const BucketPipelineConfig *config, int64_t count,
                              Error *error);
void bucket_pipeline_free(BucketPipeline *pipeline); /* accepts a zeroed pipeline; collective */

void bucket_pipeline_begin(BucketPipeline *pipeline);
/* `ready`: how many buckets of the step have their gradient. *moved is set when anything happened, never cleared. */
Status bucket_pipeline_progress(BucketPipeline *pipeline, int ready, bool *moved, Error *error);
bool bucket_pipeline_done(const BucketPipeline *pipeline);

/* The rank of the caller's communicator that the oldest bucket under way needs to hear from, and that bucket; -1 when
 * none is, or when MPI alone knows. */
int bucket_pipeline_waits_for(const BucketPipeline *pipeline);
int bucket_pipeline_oldest(const BucketPipeline *pipeline);

/* ---- between nodes; all ranks of a communicator start the same sums the same way */

/* The sum of vector[region]; residual as ring_start. slices NULL: equal parts. Else the region of a vector of which each
 * rank owns a slice: `slices` is cut into as many equal parts as there are ranks, and tree_slice says whose is which;
 * for RING_REDUCE. */
void internode_start(Internode *between, bool by_tree, RingPhases phases, float *vector, float *residual,
                     RingPart region, const RingPart *slices);
/* slices[rank] of the vector, each rank's own, go to all. by_tree: they lie in the order of tree_slice. */
void internode_gather(Internode *between, bool by_tree, float *vector, const RingPart *slices);

Status internode_progress(Internode *between, bool *moved, Error *error);
bool internode_done(const Internode *between);
int internode_neighbour(const Internode *between); /* the rank of comm that the sum under way waits for */

/* ring_or_tree.c. AUTO: all ranks take the tree where any group of leaders found it good enough. AUTO and TREE: a group
 * of leaders on several nodes takes longer messages if it clearly sums faster with them; bits are the same. Takes some
 * tenths of a second at most. Collective. */
Status bucket_pipeline_choose_way(BucketPipeline *pipeline, Error *error);

#endif
