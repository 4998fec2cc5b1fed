/* settings.h: the choices that a configuration has about sums over ranks. */
#ifndef DIST_COMM_SETTINGS_H
#define DIST_COMM_SETTINGS_H

/* ring: round all ranks. hierarchical: shared memory within nodes, a ring between them. tree: shared memory within nodes
 * that have it, recursive halving and doubling between them. auto: as hierarchical or tree, by what is faster here. mpi:
 * the library's all-reduce. */
typedef enum AllreduceKind {
    ALLREDUCE_AUTO,
    ALLREDUCE_RING,
    ALLREDUCE_HIERARCHICAL,
    ALLREDUCE_MPI,
    ALLREDUCE_TREE
} AllreduceKind;

/* What a float is between nodes. */
typedef enum WireType { WIRE_FP32, WIRE_BF16, WIRE_FP16 } WireType;

#endif
