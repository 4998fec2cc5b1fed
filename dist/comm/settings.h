/* settings.h: the choices that a configuration has about sums over ranks. */
#ifndef DIST_COMM_SETTINGS_H
#define DIST_COMM_SETTINGS_H

typedef enum AllreduceKind { ALLREDUCE_AUTO, ALLREDUCE_RING, ALLREDUCE_HIERARCHICAL, ALLREDUCE_MPI } AllreduceKind;

/* What a float is between nodes. */
typedef enum WireType { WIRE_FP32, WIRE_BF16, WIRE_FP16 } WireType;

#endif
