#include "data/convert/convert_plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "core/base/memory.h"
#include "core/base/rng.h"

/* Part of every fingerprint: raise it when the same source and options come to give other bytes. */
enum { PLAN_VERSION = 1 };

/* A limit takes any training images, since they are shuffled, and validation images at even distances. */
static Status make_order(Plan *plan, const Source *source, SourceSplitKind split, const ConvertConfig *config,
                         Error *error)
{
    int64_t total = source->splits[split].count;
    int64_t count = config->limit > 0 && config->limit < total ? config->limit : total;
    uint32_t *order = memory_alloc(total, sizeof *order, "the order of the images", error);
    if (!order) return STATUS_FAILED;
    plan->order[split] = order;
    plan->counts[split] = count;
    if (split != SPLIT_TRAIN) {
        for (int64_t i = 0; i < count; i++) order[i] = (uint32_t)(i * total / count);
        return STATUS_OK;
    }
    for (int64_t i = 0; i < total; i++) order[i] = (uint32_t)i;
    Rng rng = rng_make(config->seed, RNG_CONVERT, 0, 0);
    for (int64_t i = total - 1; i > 0; i--) { /* Fisher and Yates */
        int64_t j = (int64_t)rng_below(&rng, (uint64_t)i + 1);
        uint32_t swapped = order[i];
        order[i] = order[j];
        order[j] = swapped;
    }
    return STATUS_OK;
}

static int64_t taken_bytes(const Plan *plan, const Source *source, SourceSplitKind kind)
{
    int64_t bytes = 0;
    for (int64_t i = 0; i < plan->counts[kind]; i++) bytes += source->splits[kind].items[plan->order[kind][i]].size;
    return bytes;
}

static int64_t shards_wanted(const Plan *plan, const Source *source, SourceSplitKind kind, const ConvertConfig *config)
{
    int64_t count = plan->counts[kind], train = plan->counts[SPLIT_TRAIN], shards;
    if (config->shards == 0)
        shards = (taken_bytes(plan, source, kind) + config->shard_size - 1) / config->shard_size;
    else if (kind == SPLIT_TRAIN || train == 0)
        shards = config->shards;
    else /* as many images a shard as in training */
        shards = (count * config->shards + train - 1) / train;
    if (shards > count) shards = count;
    return shards < 1 ? 1 : shards;
}

static Status cut_shards(Plan *plan, const Source *source, SourceSplitKind kind, const ConvertConfig *config,
                         Error *error)
{
    int64_t count = plan->counts[kind], wanted = shards_wanted(plan, source, kind, config);
    if (count == 0) return STATUS_OK;
    if (wanted > 100000)
        return error_set(error, STATUS_USAGE, "%" PRId64 " shards are too many; 100000 are possible", wanted);
    Status status = memory_resize((void **)&plan->shards, plan->shard_count + wanted, sizeof *plan->shards,
                                  "the list of shards", error);
    if (status) return status;
    for (int64_t i = 0; i < wanted; i++) {
        PlanShard *shard = &plan->shards[plan->shard_count++];
        *shard = (PlanShard){.split = kind, .begin = count * i / wanted, .end = count * (i + 1) / wanted};
        snprintf(shard->file, sizeof shard->file, "%s-%03" PRId64 ".mdb", source_split_name(kind), i);
    }
    return STATUS_OK;
}

static void add_text(XXH3_state_t *state, const char *text)
{
    XXH3_128bits_update(state, text, strlen(text) + 1);
}

static void add_number(XXH3_state_t *state, uint64_t number)
{
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++) bytes[i] = (uint8_t)(number >> 8 * i);
    XXH3_128bits_update(state, bytes, 8);
}

static Status make_fingerprint(Plan *plan, const Source *source, const ConvertConfig *config, Error *error)
{
    XXH3_state_t *state = XXH3_createState();
    if (!state) return memory_failed("a fingerprint", error);
    XXH3_128bits_reset(state);
    add_number(state, PLAN_VERSION);
    add_text(state, source->kind);
    add_number(state, config->seed);
    add_number(state, (uint64_t)config->resize);
    add_number(state, (uint64_t)config->quality);
    add_number(state, config->encode ? config->encode : source->encode_as);
    add_number(state, config->decode);
    for (int i = 0; i < source->classes; i++) {
        add_text(state, source->class_names[i]);
        add_text(state, source->class_words[i] ? source->class_words[i] : "");
    }
    for (int split = 0; split < SOURCE_SPLITS; split++)
        for (int64_t i = 0; i < source->splits[split].count; i++) {
            const SourceItem *item = &source->splits[split].items[i];
            add_text(state, source_name(source, item));
            add_number(state, item->size);
            add_number(state, (uint64_t)item->label);
        }
    for (int i = 0; i < plan->shard_count; i++) {
        add_text(state, plan->shards[i].file);
        add_number(state, (uint64_t)plan->shards[i].end);
    }
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state));
    for (int i = 0; i < 16; i++) sprintf(plan->fingerprint + 2 * i, "%02x", canonical.digest[i]);
    XXH3_freeState(state);
    return STATUS_OK;
}

Status plan_create(Plan *plan, const Source *source, const ConvertConfig *config, Error *error)
{
    *plan = (Plan){0};
    Status status = STATUS_OK;
    for (int split = 0; split < SOURCE_SPLITS && !status; split++) {
        status = make_order(plan, source, (SourceSplitKind)split, config, error);
        if (!status) status = cut_shards(plan, source, (SourceSplitKind)split, config, error);
    }
    if (!status) status = make_fingerprint(plan, source, config, error);
    if (status) plan_free(plan);
    return status;
}

void plan_free(Plan *plan)
{
    for (int split = 0; split < SOURCE_SPLITS; split++) free(plan->order[split]);
    free(plan->shards);
    *plan = (Plan){0};
}
