/* creation.c: one rank lacks something while a reducer is made; all must be told, and nobody may wait for ever.
 *
 *     mpirun -np N creation KIND WIRE ZERO
 *
 * KIND auto, ring, hierarchical or mpi; WIRE fp32 or bf16; ZERO 0 or 1. The first thing that a reducer asks for is
 * refused on the last rank, then the second, and so on until there is none left. The program is linked with --wrap
 * (Makefile), so only what this project's own code asks for is refused.
 */
#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "dist/comm/reducer.h"
#include "dist/comm/world.h"
#include "tests/mpi/sums.h"

enum { COUNT = 100000, PATIENCE = 110 };

static int asked, refused = -1; /* requests so far, and which of them is refused */

static bool refuse(void)
{
    return asked++ == refused;
}

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size)
{
    return refuse() ? NULL : __real_calloc(count, size);
}

void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    return refuse() ? NULL : __real_aligned_alloc(alignment, size);
}

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument)
{
    return refuse() ? EAGAIN : __real_pthread_create(thread, attributes, start, argument);
}

/* The others have their window. */
int __real_MPI_Win_allocate_shared(MPI_Aint size, int unit, MPI_Info info, MPI_Comm comm, void *base, MPI_Win *window);
int __wrap_MPI_Win_allocate_shared(MPI_Aint size, int unit, MPI_Info info, MPI_Comm comm, void *base, MPI_Win *window);
int __wrap_MPI_Win_allocate_shared(MPI_Aint size, int unit, MPI_Info info, MPI_Comm comm, void *base, MPI_Win *window)
{
    bool fail = refuse();
    int code = __real_MPI_Win_allocate_shared(size, unit, info, comm, base, window);
    return fail ? MPI_ERR_NO_MEM : code;
}

/* Whether a step of what was made gives the sum. */
static bool works(Reducer *reducer, int rank, int ranks)
{
    Error error = {0};
    int64_t begin, end;
    reducer_begin(reducer);
    sums_fill(reducer_grads(reducer), COUNT, rank, 0);
    reducer_ready(reducer, 0, COUNT);
    if (reducer_wait(reducer, &error) != STATUS_OK) return false;
    reducer_owned(reducer, &begin, &end);
    return sums_check(reducer_total(reducer), begin, end, ranks, 0, 2e-2, reducer_kind(reducer));
}

/* One reducer with request number `number` refused on the last rank; *over when that was more than it asked for. */
static bool attempt(const ReducerConfig *config, const World *world, int number, bool *over)
{
    Error error = {0};
    Reducer *reducer = NULL;
    asked = 0;
    refused = world->rank == world->size - 1 ? number : -1;
    Status status = reducer_create(&reducer, config, COUNT, &error);
    refused = -1;
    int requests = asked, good, same;
    MPI_Bcast(&requests, 1, MPI_INT, world->size - 1, MPI_COMM_WORLD);
    *over = requests <= number;
    Error first = error;
    MPI_Bcast(&first, sizeof first, MPI_BYTE, 0, MPI_COMM_WORLD);
    same = memcmp(&first, &error, sizeof error) == 0 && (status == STATUS_OK) == (reducer != NULL) &&
           (status == STATUS_OK || error.message[0]);
    good = same && (reducer == NULL ? !*over : works(reducer, world->rank, world->size));
    if (!good)
        fprintf(stderr, "rank %d, request %d refused: status %d, '%s'\n", world->rank, number, status, error.message);
    reducer_free(reducer);
    return !sums_verdict(good);
}

int main(int argc, char **argv)
{
    World world = {0};
    Error error = {0};
    if (argc != 4) return 2;
    ReducerConfig config = {.bucket_mb = 0.1, .watchdog = 20, .zero = atoi(argv[3])};
    const char *const kinds[] = {[ALLREDUCE_AUTO] = "auto",
                                 [ALLREDUCE_RING] = "ring",
                                 [ALLREDUCE_HIERARCHICAL] = "hierarchical",
                                 [ALLREDUCE_MPI] = "mpi",
                                 [ALLREDUCE_TREE] = "tree"};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(argv[1], kinds[i]) == 0) config.kind = (AllreduceKind)i;
    config.wire = strcmp(argv[2], "bf16") == 0 ? WIRE_BF16 : WIRE_FP32;
    alarm(PATIENCE); /* a rank that waits for ever ends the job */
    if (world_start(&world, &error) != STATUS_OK) return 1;
    config.comm = MPI_COMM_WORLD;
    bool good = true, over = false;
    int number = 0;
    while (good && !over) good = attempt(&config, &world, number++, &over);
    if (world.rank == 0 && good) printf("%d requests\n", number - 1);
    good = good && number > 5; /* else nothing was refused */
    world_end(&world);
    return !good;
}
