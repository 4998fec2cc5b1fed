/* reducer.c: gradients of several steps through the reducer, as backward would report them.
 *
 *     mpirun -np N reducer KIND WIRE ZERO RANKS_PER_NODE
 *
 * KIND auto, ring, hierarchical, mpi or tree; WIRE fp32, bf16 or fp16; ZERO 0 or 1. On a narrow wire all steps have the same
 * gradient, whose rounding errors would add up if error feedback did not return them.
 */
#include <unistd.h>

#include "dist/comm/reducer.h"
#include "dist/comm/world.h"
#include "tests/mpi/sums.h"

enum { COUNT = 700000, STEPS = 6 };

static int index_of(const char *name, const char *const *names)
{
    for (int i = 0; names[i]; i++)
        if (strcmp(name, names[i]) == 0) return i;
    fprintf(stderr, "reducer: what is '%s'?\n", name);
    exit(2);
}

/* Slices of uneven length from the end, some of them late on some ranks. */
static void backward(Reducer *reducer, int rank, int step, int round)
{
    float *grads = reducer_grads(reducer);
    uint64_t state = 88172645463325252u + (uint64_t)step;
    for (int64_t end = COUNT; end > 0;) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        int64_t begin = end - (int64_t)(state % 60000) - 1;
        if (begin < 0) begin = 0;
        for (int64_t i = begin; i < end; i++) grads[i] = sums_value(rank, round, i);
        if ((state >> 32) % 8 == (uint64_t)rank) usleep(1000);
        reducer_ready(reducer, begin, end - begin);
        end = begin;
    }
}

static bool one_step(Reducer *reducer, int rank, int ranks, int step, int round, double tolerance, float *weights)
{
    char what[64];
    snprintf(what, sizeof what, "%s, step %d", reducer_kind(reducer), step);
    Error error = {0};
    reducer_begin(reducer);
    backward(reducer, rank, step, round);
    if (reducer_wait(reducer, &error) != STATUS_OK) {
        fprintf(stderr, "%s: %s\n", what, error.message);
        return false;
    }
    const float *total = reducer_total(reducer);
    int64_t begin, end;
    reducer_owned(reducer, &begin, &end);
    bool good = sums_check(total, begin, end, ranks, round, tolerance, what);

    /* As an update would: everybody's owned part, then everybody's everything. */
    memset(weights, 0, COUNT * sizeof *weights);
    memcpy(weights + begin, total + begin, (size_t)(end - begin) * sizeof *weights);
    good = reducer_gather(reducer, weights, &error) == STATUS_OK && good;
    good = sums_check(weights, 0, COUNT, ranks, round, tolerance, "gathered") && good;
    good = sums_same_bits(weights, COUNT, what) && good;

    reducer_slice(reducer, &begin, &end);
    double figures[2] = {(double)(end - begin), rank == ranks - 1 ? NAN : 0};
    good = reducer_agree(reducer, figures, 2, &error) == STATUS_OK && good;
    if (figures[0] != COUNT || !isnan(figures[1])) {
        fprintf(stderr, "%s: slices cover %g of %d, NaN became %g\n", what, figures[0], COUNT, figures[1]);
        good = false;
    }
    return good;
}

/* The sums of all steps differ from the plain ones by no more than one step's rounding. */
static bool check_history(const double *history, int ranks, bool narrow, double tolerance)
{
    for (int64_t i = 0; i < COUNT; i++) {
        double expected = 0, largest = 0;
        for (int step = 0; step < STEPS; step++) {
            double magnitude;
            expected += sums_expected(ranks, narrow ? 0 : step, i, &magnitude);
            largest = fmax(largest, magnitude);
        }
        if (fabs(history[i] - expected) <= tolerance * largest) continue;
        fprintf(stderr, "element %lld: %g over all steps, expected %g\n", (long long)i, history[i], expected);
        return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    static const char *const KINDS[] = {"auto", "ring", "hierarchical", "mpi", "tree", NULL};
    static const char *const WIRES[] = {"fp32", "bf16", "fp16", NULL};
    if (argc != 5) return 2;
    World world = {0};
    Reducer *reducer = NULL;
    Error error = {0};
    ReducerConfig config = {.kind = (AllreduceKind)index_of(argv[1], KINDS),
                            .bucket_mb = 0.4,
                            .wire = (WireType)index_of(argv[2], WIRES),
                            .zero = atoi(argv[3]),
                            .watchdog = 60,
                            .ranks_per_node = atoi(argv[4])};
    if (world_start(&world, &error) != STATUS_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    config.comm = MPI_COMM_WORLD;
    if (reducer_create(&reducer, &config, COUNT, &error) != STATUS_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    /* Each of N roundings is by half a unit of the last of 8 or 11 bits, and last step's loss comes on top. */
    bool narrow = config.wire != WIRE_FP32;
    double unit = config.wire == WIRE_BF16 ? 1.0 / 256 : config.wire == WIRE_FP16 ? 1.0 / 2048 : 0;
    double tolerance = 1e-6 + 2 * unit * world.size;
    float *weights = malloc(COUNT * sizeof *weights);
    double *history = calloc(COUNT, sizeof *history);
    bool good = true;
    for (int step = 0; step < STEPS && good; step++) {
        good = one_step(reducer, world.rank, world.size, step, narrow ? 0 : step, tolerance, weights);
        for (int64_t i = 0; i < COUNT; i++) history[i] += (double)weights[i];
        good = !sums_verdict(good);
    }
    good = good && check_history(history, world.size, narrow, 1e-6 * STEPS + unit * world.size);
    free(weights);
    free(history);
    reducer_free(reducer);
    int verdict = sums_verdict(good);
    world_end(&world);
    return verdict;
}
