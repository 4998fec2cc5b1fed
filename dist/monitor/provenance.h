/* provenance.h: who computed this, with what: for whoever has to say so in a paper, or to compute it again.
 *
 * The same few lines stand in log.txt, in the `start` records of metrics.jsonl, in the metadata of weights files and in
 * TensorBoard's text. Plain bytes, so that ranks can hand it round; texts that are too long end with "...".
 */
#ifndef DIST_MONITOR_PROVENANCE_H
#define DIST_MONITOR_PROVENANCE_H

#include <stddef.h>
#include "core/base/status.h"

enum { PROVENANCE_COMMAND = 4000 }; /* with its name, and the time, it fits a line of the log */

typedef struct Provenance {
    char version[64];                 /* of t2t; "": nothing is known */
    char command[PROVENANCE_COMMAND]; /* the command line of rank 0, as a shell reads it */
    char hosts[1024];                 /* "cn01, cn02" */
    char processors[512];             /* "2 x Intel ..." : how many nodes have which */
    char mpi[128];                    /* library and version */
    char libraries[512];              /* "BLIS 0.9.0, ..." and the kernels' instruction set */
    int ranks, nodes, threads;        /* threads: of all ranks together, which compute */
} Provenance;

/* "name", value, ...: the texts with what they are called; calls `each` for every one that is known. */
void provenance_each(const Provenance *provenance, void (*each)(void *context, const char *name, const char *value),
                     void *context);

/* A JSON object of them, malloc'ed; NULL when out of memory. Bytes that are not UTF-8 are escaped. */
char *provenance_json(const Provenance *provenance);

/* From the object of a `start` record; what it lacks is empty. */
void provenance_parse(const char *json, size_t size, Provenance *provenance);

#endif
