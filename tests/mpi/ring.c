/* ring.c: the ring's sums against plain sums in double, for lengths around every boundary, and waves of every kind.
 *
 *     mpirun -np N ring
 */
#include "dist/comm/ring.h"
#include "dist/comm/world.h"
#include "tests/mpi/sums.h"

static bool sum_of(Ring *ring, int64_t count, int round)
{
    char what[96];
    snprintf(what, sizeof what, "%d ranks, %lld floats, chunks of %lld, waves of %lld", ring->size, (long long)count,
             (long long)ring->window.max_chunk, (long long)ring->max_wave);
    double tolerance = ring->window.wire == WIRE_FP32 ? 1e-6 : ring->size * 0x1p-8; /* bf16: each rank rounds once */
    float *vector = malloc((size_t)(count + 2) * sizeof *vector);
    sums_fill(vector, count, ring->rank, round);
    vector[count] = vector[count + 1] = 12345; /* must stay */
    Error error = {0};
    bool good = ring_allreduce(ring, vector, count, &error) == STATUS_OK;
    if (!good) fprintf(stderr, "%s: %s\n", what, error.message);
    good = good && sums_check(vector, 0, count, ring->size, round, tolerance, what);
    good = sums_same_bits(vector, count, what) && good;
    if (vector[count] != 12345 || vector[count + 1] != 12345) {
        fprintf(stderr, "%s: wrote beyond the end\n", what);
        good = false;
    }
    free(vector);
    return good;
}

/* Only one phase, and parts of very different sizes, most of them empty. */
static bool phases_of(Ring *ring, int owner)
{
    enum { COUNT = 70000 };
    RingPart parts[64];
    for (int p = 0; p < ring->size; p++) parts[p] = (RingPart){p <= owner ? 0 : COUNT, p < owner ? 0 : COUNT};
    parts[owner] = (RingPart){0, COUNT};
    float *vector = malloc(COUNT * sizeof *vector);
    sums_fill(vector, COUNT, ring->rank, owner);
    Error error = {0};
    bool moved = false, good = true;
    ring_start(ring, RING_REDUCE, vector, NULL, parts);
    while (good && !ring_done(ring)) good = ring_progress(ring, &moved, &error) == STATUS_OK;
    if (ring->rank == owner) good = good && sums_check(vector, 0, COUNT, ring->size, owner, 1e-6, "reduce to one rank");
    ring_start(ring, RING_GATHER, vector, NULL, parts);
    while (good && !ring_done(ring)) good = ring_progress(ring, &moved, &error) == STATUS_OK;
    good = good && sums_check(vector, 0, COUNT, ring->size, owner, 1e-6, "gather from one rank");
    if (error.message[0]) fprintf(stderr, "%s\n", error.message);
    free(vector);
    return good;
}

/* Far more chunks per part than the window holds; one, a few or all of them in a wave. */
static bool laps_of(Ring *ring)
{
    static const int64_t LAPS[] = {1, 3, 8, 1 << 20};
    bool good = true;
    int round = 0;
    int64_t max_chunk = ring->window.max_chunk, max_wave = ring->max_wave;
    ring->window.max_chunk = 48;
    for (size_t i = 0; i < sizeof LAPS / sizeof LAPS[0]; i++) {
        ring->max_wave = LAPS[i];
        for (int64_t count = 0; count < 20000; count = count * 3 + 5) good = sum_of(ring, count, round++) && good;
        for (int owner = 0; owner < ring->size && ring->window.wire == WIRE_FP32; owner++)
            good = phases_of(ring, owner) && good;
    }
    ring->window.max_chunk = max_chunk;
    ring->max_wave = max_wave;
    return good;
}

int main(void)
{
    World world = {0};
    Ring ring = {0}, narrow = {0};
    Error error = {0};
    if (world_start(&world, &error) != STATUS_OK ||
        ring_create(&ring, MPI_COMM_WORLD, 7, WIRE_FP32, &error) != STATUS_OK ||
        ring_create(&narrow, MPI_COMM_WORLD, 8, WIRE_BF16, &error) != STATUS_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    static const int64_t LENGTHS[] = {0, 1, 2, 7, 16, 17, 100, 1000, 4097, 123457, 1 << 20, 3000001};
    bool good = true;
    int round = 0;
    for (size_t i = 0; i < sizeof LENGTHS / sizeof LENGTHS[0]; i++) good = sum_of(&ring, LENGTHS[i], round++) && good;
    for (int owner = 0; owner < ring.size; owner++) good = phases_of(&ring, owner) && good;
    good = laps_of(&ring) && good;
    good = laps_of(&narrow) && good;
    int verdict = sums_verdict(good);
    ring_free(&narrow);
    ring_free(&ring);
    world_end(&world);
    return verdict;
}
