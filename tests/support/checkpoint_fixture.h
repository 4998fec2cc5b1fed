/* checkpoint_fixture.h: a run of a tiny model, for what is written of it and read back. */
#ifndef TESTS_SUPPORT_CHECKPOINT_FIXTURE_H
#define TESTS_SUPPORT_CHECKPOINT_FIXTURE_H

#include "dist/checkpoint/checkpoint.h"

/* A run of a tiny model whose vectors hold numbers that tell where they belong. */
typedef struct Fixture {
    ParamTable table;
    RunVectors vectors;
    char folder[512];
    Error error;
} Fixture;

extern const char FIXTURE_CONFIG[]; /* what the checkpoint says of it */

/* Weights, averages and moments are filled; the folder, below temporary_folder(), is not made yet. */
Fixture fixture_make(void);
void fixture_free(Fixture *fixture);
RunPosition fixture_position(int64_t step);

RunVectors fixture_vectors(const ParamTable *table); /* room for all of them, zeroed; run_vectors_free */
bool fixture_same(const Fixture *fixture, const float *a, const float *b);

/* Each fails the test when it is otherwise: a checkpoint can be opened; it holds what the fixture holds; the folder has
 * `want` checkpoints, those of `steps`. */
Checkpoint fixture_opened(Fixture *fixture, const char *path);
void fixture_check_loads(Fixture *fixture, const char *path);
void fixture_check_steps(Fixture *fixture, int want, const int64_t *steps);

int fixture_names_in(const char *folder, const char *part);         /* how many names have `part` in them */
const char *fixture_file(const char *checkpoint, const char *name); /* its path, until the next call */
void fixture_leave(const char *checkpoint, const char *name);       /* a file there that is not ours */

#endif
