/* simd_packed.h: products whose B lies in panels (packed.h): panel after panel, each of them k rows of a few whole
 * vectors. So the micro-kernels read B from front to back, aligned, and its rows fall on all sets of a cache. Included by
 * simd_gemm.h.
 */

typedef struct Panel {
    int first, cols; /* of b, those that are wanted */
    int skip;        /* columns of the panel before them */
    int width;       /* its leading dimension */
    int64_t at;      /* where it starts */
} Panel;

/* The panel with column `first` of b, and of its columns those before `end`. */
static Panel panel_with(int vectors, const PackedMatrix *b, int first, int end)
{
    int start = 0, cols;
    while (start + (cols = panel_width(vectors, b->n - start)) <= first) start += cols;
    int past = start + cols < end ? start + cols : end;
    return (Panel){.first = first,
                   .cols = past - first,
                   .skip = first - start,
                   .width = (cols + LANES - 1) / LANES * LANES,
                   .at = (int64_t)start * b->k};
}

static void pack_with(int vectors, GemmForm form, const PackedMatrix *b, int first, int count, const float *from,
                      int ld)
{
    Panel panel;
    for (int j = 0; j < count; j += panel.cols) {
        panel = panel_with(vectors, b, first + j, first + count);
        float *to = b->at + panel.at + panel.skip;
        int pad = panel.first + panel.cols == b->n ? panel.width - panel.skip - panel.cols : 0;
        if (form == GEMM_NT) simd_transpose(panel.cols, b->k, from + (int64_t)j * ld, ld, to, panel.width);
        for (int p = 0; p < b->k; p++) {
            if (form == GEMM_NN)
                memcpy(to + (int64_t)p * panel.width, from + (int64_t)p * ld + j, (size_t)panel.cols * sizeof(float));
            if (pad) memset(to + (int64_t)p * panel.width + panel.cols, 0, (size_t)pad * sizeof(float));
        }
    }
}

/* The same blocks of k as gemm_rows, and so the same bits. Panel by panel, so that C stays near between its blocks. What
 * comes next lies next: the panel's other rows, or the next panel. */
static void gemm_packed_with(int vectors, int m, const PackedMatrix *b, int first, int count, const float *a, int lda,
                             float beta, float *c, int ldc)
{
    int k = b->k, depth = block_depth(k), high = MICRO[vectors - 1][0].rows;
    Panel panel;
    for (int j = 0; m > 0 && j < count; j += panel.cols) {
        int p = 0;
        panel = panel_with(vectors, b, first + j, first + count);
        do { /* once even without depth: C = beta C */
            int steps = k - p < depth ? k - p : depth, rounds = (m + high - 1) / high * ((steps + ROUND - 1) / ROUND);
            const float *from = b->at + panel.at + (int64_t)p * panel.width + panel.skip;
            PrefetchStream memory[STREAMS], *wanted = NULL;
            if (steps >= STREAM_DEPTH && (p + steps < k || j + panel.cols < count)) {
                memory[0] = stream_make(from + (int64_t)steps * panel.width, panel.width, steps, panel.width, rounds);
                memory[1] = (PrefetchStream){0};
                wanted = memory;
            }
            gemm_panel(m, panel.cols, steps, (Operand){a + p, lda, 1}, NULL, from, panel.width, p > 0 ? 1.0f : beta,
                       c + j, ldc, wanted);
            p += depth;
        } while (p < k);
    }
}

/* The functions of a table whose panels are of so many vectors. */
#define PACKED_OF(name, vectors)                                                                                       \
    static void pack_##name(GemmForm form, const PackedMatrix *b, int first, int count, const float *from, int ld)     \
    {                                                                                                                  \
        pack_with(vectors, form, b, first, count, from, ld);                                                           \
    }                                                                                                                  \
    static void gemm_packed_##name(int m, const PackedMatrix *b, int first, int count, const float *a, int lda,        \
                                   float beta, float *c, int ldc)                                                      \
    {                                                                                                                  \
        gemm_packed_with(vectors, m, b, first, count, a, lda, beta, c, ldc);                                           \
    }
