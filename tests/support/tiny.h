/* tiny.h: a data set and a model small enough to train in a test, and reading what a run left. */
#ifndef TESTS_SUPPORT_TINY_H
#define TESTS_SUPPORT_TINY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/support/command.h"

/* FOLDER becomes a data set of ten kinds of 28 x 28 drawings, through IDX files and `t2t convert`. */
void tiny_dataset(const char *folder, int train, int val);

/* Changes a byte of the image of the record that stands at PLACE in a shard: its hash is wrong then. */
void spoil_record(const char *shard, int place);

/* `--set` options of a model and recipe with everything random on: dropout, drop-path, mixup, crops, erasing. 8 images
 * a step: 96 training images are an epoch of 12 steps. */
extern const char TINY_SETTINGS[];

/* The losses of metrics.jsonl, one per step (log_interval 1), by step: losses[0] is NAN; returns the last step. */
int64_t tiny_losses(const char *run, double *losses, int room);

/* The program, and mpirun as tests start it; the number of ranks follows. */
#define MPIRUN                                                                                                         \
    "OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1 "                   \
    "OMPI_MCA_hwloc_base_binding_policy=none mpirun -np "
#define T2T BUILD_FOLDER "/t2t"

/* Fails the test, with the whole output, unless the command ended with that exit status and printed every text.
 * Frees. */
void command_expect(Command command, int exit_status, const char *const *texts);
#define EXPECT(command, status, ...) command_expect(command, status, (const char *const[]){__VA_ARGS__, NULL})
#define SUCCEEDS(command)            command_expect(command, 0, NULL)

/* tiny_dataset with 97 and 37 images, which nothing divides, in temporary_folder()/data; and t2t train with TINY_SETTINGS
 * on it, into temporary_folder()/RUN, for at most so many seconds. ranks 0: without mpirun. */
enum { TINY_SECONDS = 100 };
void tiny_train_data(void);
Command tiny_train(int ranks, const char *run, const char *options);

/* A path in temporary_folder(); path: 1000 bytes, returned. */
char *path_to(char *path, const char *format, ...) __attribute__((format(printf, 2, 3)));

bool same_tensors(const char *a, const char *b); /* bit for bit, whatever the metadata */
bool same_files(const char *a, const char *b);   /* false also when one cannot be read */

#endif
