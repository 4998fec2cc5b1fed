/* machine.h: what the ranks run on, in words: hosts, processors, the MPI library. */
#ifndef DIST_COMM_MACHINE_H
#define DIST_COMM_MACHINE_H

#include "dist/comm/world.h"

typedef struct Machine {
    char hosts[1024];     /* "cn01, cn02"; ends with "and N more" where it is too long */
    char processors[512]; /* "2 x AMD EPYC ...": how many nodes have which */
    char mpi[128];        /* "Open MPI v4.1.4" */
    int threads;          /* of all ranks together */
} Machine;

/* Collective; the same on every rank. threads: this rank's that compute. STATUS_FAILED where memory or MPI fails. */
Status machine_describe(const World *world, int threads, Machine *machine, Error *error);

#endif
