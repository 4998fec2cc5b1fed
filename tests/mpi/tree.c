/* tree.c: the tree's sums against plain sums in double, for lengths around every boundary and slices of every size.
 *
 *     mpirun -np N tree            all of it
 *     mpirun ... -np N tree same   MPI_Allreduce, told to use Rabenseifner's algorithm, has the same bits
 */
#include "dist/comm/tree.h"
#include "dist/comm/world.h"
#include "tests/mpi/sums.h"

static double tolerance_of(const Tree *tree)
{
    return tree->wire == WIRE_FP32 ? 1e-6 : tree->size * 0x1p-8; /* bf16: each rank rounds once */
}

static bool sum_of(Tree *tree, int64_t count, int round)
{
    char what[96];
    snprintf(what, sizeof what, "%d ranks, %lld floats, chunks of %lld, doubling %lld", tree->size, (long long)count,
             (long long)tree->lanes[0].window.max_chunk, (long long)tree->doubling);
    float *vector = malloc((size_t)(count + 2) * sizeof *vector);
    sums_fill(vector, count, tree->rank, round);
    vector[count] = vector[count + 1] = 12345; /* must stay */
    Error error = {0};
    bool good = tree_allreduce(tree, vector, count, &error) == STATUS_OK;
    if (!good) fprintf(stderr, "%s: %s\n", what, error.message);
    good = good && sums_check(vector, 0, count, tree->size, round, tolerance_of(tree), what);
    good = sums_same_bits(vector, count, what) && good;
    if (vector[count] != 12345 || vector[count + 1] != 12345) {
        fprintf(stderr, "%s: wrote beyond the end\n", what);
        good = false;
    }
    free(vector);
    return good;
}

static bool drive(Tree *tree, RingPhases phases, float *vector, const int64_t *bounds)
{
    Error error = {0};
    bool moved = false, good = true;
    tree_start(tree, phases, vector, NULL, bounds);
    while (good && !tree_done(tree)) good = tree_progress(tree, &moved, &error) == STATUS_OK;
    if (!good) fprintf(stderr, "%s\n", error.message);
    return good;
}

/* Each rank owns one slice of very uneven ones, `heavy` most of it; reduce to the owners, then gather. */
static bool slices_of(Tree *tree, int heavy, RingPart range)
{
    enum { COUNT = 70000 };
    int64_t ends[64], *bounds = malloc(((size_t)tree_places(tree->size) + 1) * sizeof *bounds);
    for (int s = 0; s < tree->size; s++) ends[s] = s < heavy ? 5 * (s / 2) : COUNT - 3 * (tree->size - 1 - s);
    int mine = tree_slice(tree->size, tree->rank);
    RingPart slice = {mine ? ends[mine - 1] : 0, ends[mine]};
    if (slice.begin < range.begin) slice.begin = range.begin;
    if (slice.end > range.end) slice.end = range.end;
    tree_split_slices(tree->size, range, ends, bounds);
    float *vector = malloc(COUNT * sizeof *vector);
    sums_fill(vector, COUNT, tree->rank, heavy);
    bool good = drive(tree, RING_REDUCE, vector, bounds);
    good = good && sums_check(vector, slice.begin, slice.end, tree->size, heavy, tolerance_of(tree), "a slice");
    good = good && drive(tree, RING_GATHER, vector, bounds);
    good = good && sums_check(vector, range.begin, range.end, tree->size, heavy, tolerance_of(tree), "gathered");
    good = good && sums_same_bits(vector + range.begin, range.end - range.begin, "gathered");
    for (int64_t i = 0; i < COUNT && good; i++)
        if ((i < range.begin || i >= range.end) && vector[i] != sums_value(tree->rank, heavy, i)) {
            fprintf(stderr, "element %lld outside of %lld..%lld was written\n", (long long)i, (long long)range.begin,
                    (long long)range.end);
            good = false;
        }
    free(vector);
    free(bounds);
    return good;
}

/* Slices cover the vector once, in the order of their numbers, and each rank has one. */
static bool shape_is_sound(void)
{
    bool good = true;
    for (int ranks = 1; ranks <= 70; ranks++) {
        int seen[70] = {0};
        for (int rank = 0; rank < ranks; rank++) {
            int slice = tree_slice(ranks, rank);
            if (slice < 0 || slice >= ranks || seen[slice]++) good = false;
        }
        if (!good) fprintf(stderr, "%d ranks: slices are not those of one rank each\n", ranks);
    }
    return good;
}

/* Halving and doubling are the same sums. */
static bool same_both_ways(Tree *tree, int64_t count)
{
    float *whole = malloc((size_t)count * sizeof *whole), *halves = malloc((size_t)count * sizeof *halves);
    Error error = {0};
    int64_t doubling = tree->doubling;
    sums_fill(whole, count, tree->rank, 5);
    sums_fill(halves, count, tree->rank, 5);
    tree->doubling = count;
    bool good = tree_allreduce(tree, whole, count, &error) == STATUS_OK;
    tree->doubling = 0;
    good = good && tree_allreduce(tree, halves, count, &error) == STATUS_OK;
    tree->doubling = doubling;
    bool same = memcmp(whole, halves, (size_t)count * sizeof *whole) == 0;
    if (good && !same)
        fprintf(stderr, "%d ranks, %lld floats: doubling and halving differ\n", tree->size, (long long)count);
    free(whole);
    free(halves);
    return good && same;
}

static void set_chunk(Tree *tree, int64_t max_chunk)
{
    for (int i = 0; i < tree->lane_count; i++) tree->lanes[i].window.max_chunk = max_chunk;
}

static bool variants_of(Tree *tree)
{
    bool good = true;
    int round = 0;
    int64_t max_chunk = tree->lanes[0].window.max_chunk, doubling = tree->doubling;
    for (int way = 0; way < 3; way++) {
        set_chunk(tree, way == 0 ? 48 : max_chunk); /* far more messages than the window holds */
        tree->doubling = way == 1 ? 0 : way == 2 ? 300 : doubling;
        for (int64_t count = 0; count < 20000; count = count * 3 + 5) good = sum_of(tree, count, round++) && good;
        for (int heavy = 0; heavy < tree->size && tree->wire == WIRE_FP32; heavy++) {
            good = slices_of(tree, heavy, (RingPart){0, 70000}) && good;
            good = slices_of(tree, heavy, (RingPart){7, 20011}) && good;
        }
    }
    set_chunk(tree, max_chunk);
    tree->doubling = doubling;
    return good;
}

static void set_local(Tree *tree, bool local)
{
    for (int i = 0; i < tree->lane_count; i++) tree->lanes[i].window.local = local;
}

/* As between nodes, with short messages and with long ones: the same bits, and that of all elements. */
static bool long_messages(Tree *tree)
{
    enum { COUNT = 700001 };
    float *sums[2];
    bool good = true;
    const bool local = tree->lanes[0].window.local;
    const int64_t max_chunk = tree->lanes[0].window.max_chunk;
    set_local(tree, false);
    for (int way = 0; way < 2; way++) {
        Error error = {0};
        sums[way] = malloc(COUNT * sizeof *sums[way]);
        sums_fill(sums[way], COUNT, tree->rank, 1);
        tree_long_messages(tree, way == 1);
        good = tree_allreduce(tree, sums[way], COUNT, &error) == STATUS_OK && good;
        good = (tree->size == 1 || (tree->lanes[0].window.chunk > 15360) == (way == 1)) && good;
    }
    good = memcmp(sums[0], sums[1], COUNT * sizeof *sums[0]) == 0 && good;
    if (!good) fprintf(stderr, "%d ranks: long messages give other sums, or were not used\n", tree->size);
    set_local(tree, local);
    set_chunk(tree, max_chunk);
    free(sums[0]);
    free(sums[1]);
    return good;
}

/* Who sums in another order differs somewhere, so equality says something: a plain sum from rank 0 up, for comparison. */
static bool same_as_mpi(Tree *tree)
{
    static const int64_t LENGTHS[] = {64, 1000, 40960, 300001};
    bool good = true;
    for (size_t i = 0; i < sizeof LENGTHS / sizeof LENGTHS[0]; i++) {
        int64_t count = LENGTHS[i], different = 0, unlike = 0;
        float *ours = malloc((size_t)count * sizeof *ours), *theirs = malloc((size_t)count * sizeof *theirs);
        sums_fill(ours, count, tree->rank, (int)i);
        sums_fill(theirs, count, tree->rank, (int)i);
        Error error = {0};
        good = tree_allreduce(tree, ours, count, &error) == STATUS_OK && good;
        MPI_Allreduce(MPI_IN_PLACE, theirs, (int)count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
        for (int64_t k = 0; k < count; k++) {
            float plain = 0;
            for (int rank = 0; rank < tree->size; rank++) plain += sums_value(rank, (int)i, k);
            different += memcmp(&ours[k], &theirs[k], sizeof *ours) != 0;
            unlike += plain != ours[k];
        }
        if (different)
            fprintf(stderr, "%d ranks: %lld of %lld sums differ from MPI_Allreduce\n", tree->size, (long long)different,
                    (long long)count);
        if (tree->size >= 4 && !unlike) fprintf(stderr, "the order of additions does not show\n");
        good = good && !different && (tree->size < 4 || unlike);
        free(ours);
        free(theirs);
    }
    return good;
}

int main(int argc, char **argv)
{
    World world = {0};
    Tree tree = {0}, narrow = {0};
    Error error = {0};
    if (world_start(&world, &error) != STATUS_OK ||
        tree_create(&tree, MPI_COMM_WORLD, 7, WIRE_FP32, &error) != STATUS_OK ||
        tree_create(&narrow, MPI_COMM_WORLD, 8, WIRE_BF16, &error) != STATUS_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    bool good = true;
    if (argc > 1 && strcmp(argv[1], "same") == 0) {
        good = same_as_mpi(&tree);
    } else {
        static const int64_t LENGTHS[] = {0, 1, 2, 7, 16, 17, 100, 1000, 4097, 123457, 1 << 20, 3000001};
        for (size_t i = 0; i < sizeof LENGTHS / sizeof LENGTHS[0]; i++)
            good = sum_of(&tree, LENGTHS[i], (int)i) && good;
        good = shape_is_sound() && good;
        good = same_both_ways(&tree, 1000) && good;
        good = variants_of(&tree) && good;
        good = long_messages(&tree) && good;
        good = variants_of(&narrow) && good;
    }
    int verdict = sums_verdict(good);
    tree_free(&narrow);
    tree_free(&tree);
    world_end(&world);
    return verdict;
}
