#include "core/kernels/kernels.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/kernels/bf16.h"

extern const Kernels kernels_generic;
#if defined(__x86_64__)
extern const Kernels kernels_avx2_6x2, kernels_avx2_4x3, kernels_avx512_12x2, kernels_avx512_8x3;

/* Family 25, Zen 3 and 4: one 512-bit multiply-add a cycle, or two of 256 bits; what was measured there is best there. */
static bool is_zen3_or_zen4(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_is("amdfam19h");
}

static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
#elif defined(__aarch64__)
extern const Kernels kernels_neon_8x3;
#endif

const Kernels *kernels_at(int index)
{
    const Kernels *available[5];
    int count = 0;
#if defined(__x86_64__)
    bool zen = is_zen3_or_zen4();
    if (has_avx512()) {
        available[count++] = zen ? &kernels_avx512_12x2 : &kernels_avx512_8x3;
        available[count++] = zen ? &kernels_avx512_8x3 : &kernels_avx512_12x2;
    }
    if (has_avx2()) {
        available[count++] = zen ? &kernels_avx2_6x2 : &kernels_avx2_4x3;
        available[count++] = zen ? &kernels_avx2_4x3 : &kernels_avx2_6x2;
    }
#elif defined(__aarch64__)
    available[count++] = &kernels_neon_8x3;
#endif
    available[count++] = &kernels_generic;
    return index >= 0 && index < count ? available[index] : NULL;
}

/* "avx512" is the best of "avx512-8x3", "avx512-12x2". */
static bool answers_to(const Kernels *kernels, const char *name)
{
    size_t length = strlen(name);
    return strncmp(kernels->name, name, length) == 0 && (kernels->name[length] == '\0' || kernels->name[length] == '-');
}

bool kernels_asked(int index, char *name, size_t size)
{
    const char *at = getenv("T2T_KERNELS");
    for (; at && index > 0; index--) {
        at = strchr(at, ',');
        if (at) at++;
    }
    if (!at || !*at) return false;
    snprintf(name, size, "%.*s", (int)strcspn(at, ","), at);
    return true;
}

static const Kernels *kernels_named(const char *name)
{
    for (int i = 0; kernels_at(i); i++)
        if (answers_to(kernels_at(i), name)) return kernels_at(i);
    return NULL;
}

/* NULL: what T2T_KERNELS asks for cannot run; then `name` is it. Names of products of bfloat16 are bf16.c's affair. */
static const Kernels *kernels_wanted(char *name, size_t size)
{
    const Kernels *wanted = NULL;
    for (int i = 0; kernels_asked(i, name, size); i++) {
        const Kernels *named = kernels_named(name);
        if (!named && !bf16_named(name)) return NULL;
        if (!wanted) wanted = named;
    }
    return wanted ? wanted : kernels_at(0);
}

const Kernels *kernels_best(void)
{
    char name[64];
    const Kernels *wanted = kernels_wanted(name, sizeof name);
    return wanted ? wanted : kernels_at(0);
}

Status kernels_choose(const Kernels **out, Error *error)
{
    char name[64], can[256];
    int used = 0;
    *out = kernels_wanted(name, sizeof name);
    if (*out) return STATUS_OK;
    for (int i = 0; kernels_at(i); i++)
        used += snprintf(can + used, sizeof can - (size_t)used, "%s%s", i ? ", " : "", kernels_at(i)->name);
    for (int i = 0; bf16_at(i); i++) used += snprintf(can + used, sizeof can - (size_t)used, ", %s", bf16_at(i)->name);
    return error_set(error, STATUS_USAGE,
                     "T2T_KERNELS: '%s' is none of the kernels that this processor can run: %s (avx512 and avx2 alone "
                     "choose the best of theirs; a comma stands between kernels of float32 and of bf16); unset it to "
                     "have the best of all",
                     name, can);
}
