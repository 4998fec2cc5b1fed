#include "core/kernels/bf16.h"

#include <string.h>

extern const Bf16Kernels bf16_kernels_bf16_emulated, bf16_kernels_amx_emulated;

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

extern const Bf16Kernels bf16_kernels_avx512_bf16, bf16_kernels_amx;

static bool has_vectors(void)
{
    unsigned a = 0, b = 0, c = 0, d = 0;
    __builtin_cpu_init();
    bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    return avx512 && __get_cpuid_count(7, 1, &a, &b, &c, &d) && a >> 5 & 1;
}

static bool has_tiles(void)
{
    unsigned a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && d >> 22 & 1 && d >> 24 & 1;
}

/* Tiles are 8 KB of state, which Linux (5.16 and later) keeps for the threads of processes that asked. To ask again
 * changes nothing. */
static bool tiles_permitted(void)
{
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 }; /* ARCH_REQ_XCOMP_PERM; XFEATURE_XTILEDATA */
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}
#endif

const Bf16Kernels *bf16_at(int index)
{
    const Bf16Kernels *available[4];
    int count = 0;
#if defined(__x86_64__)
    if (has_vectors()) {
        if (has_tiles() && tiles_permitted()) available[count++] = &bf16_kernels_amx;
        available[count++] = &bf16_kernels_avx512_bf16;
    }
#endif
    available[count++] = &bf16_kernels_bf16_emulated;
    available[count++] = &bf16_kernels_amx_emulated;
    return index >= 0 && index < count ? available[index] : NULL;
}

const Bf16Kernels *bf16_named(const char *name)
{
    for (int i = 0; bf16_at(i); i++)
        if (strcmp(bf16_at(i)->name, name) == 0) return bf16_at(i);
    return NULL;
}

Status bf16_choose(const Bf16Kernels **out, Error *error)
{
    char name[64];
    for (int i = 0; kernels_asked(i, name, sizeof name); i++)
        if ((*out = bf16_named(name))) return STATUS_OK;
    *out = bf16_at(0);
    if (*out != &bf16_kernels_bf16_emulated) return STATUS_OK;
    return error_set(
        error, STATUS_USAGE,
        "precision: bf16, but this processor multiplies no bfloat16: it has neither AVX512_BF16 "
        "(AMD Zen 4, Intel Cooper Lake and Sapphire Rapids, and later ones) nor AMX_BF16. Set precision to "
        "fp32; or, to compute the same many times slower, T2T_KERNELS=bf16_emulated in the environment");
}

Status kernels_of_precision(Kernels *out, Precision precision, Error *error)
{
    const Kernels *chosen;
    const Bf16Kernels *products = NULL;
    Status status = kernels_choose(&chosen, error);
    if (!status && precision == PRECISION_BF16) status = bf16_choose(&products, error);
    if (status) return status;
    *out = *chosen;
    if (!products) return STATUS_OK;
    out->gemm = products->gemm;
    out->pack = products->pack;
    out->gemm_packed = products->gemm_packed;
    out->bf16 = products;
    return STATUS_OK;
}

/* Strips of 32 columns, 32 of k at a time, 2 bytes each. */
size_t bf16_packed_floats(int n, int k)
{
    return ((size_t)n + 31) / 32 * 32 * (((size_t)k + 31) / 32 * 32) / 2;
}
