#include "data/loader/sampler.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/memory.h"
#include "core/base/rng.h"

Status order_create(Order *order, const OrderConfig *config, const int64_t *begin, int shards, Error *error)
{
    static const char PURPOSE[] = "the order of the shards";
    *order = (Order){.config = *config, .shards = shards, .count = begin[shards]};
    order->begin = memory_alloc(shards + 1, sizeof *order->begin, PURPOSE, error);
    order->start = memory_alloc(shards + 1, sizeof *order->start, PURPOSE, error);
    order->shard = memory_alloc(shards, sizeof *order->shard, PURPOSE, error);
    if (!order->begin || !order->start || !order->shard) {
        order_free(order);
        return STATUS_FAILED;
    }
    memcpy(order->begin, begin, ((size_t)shards + 1) * sizeof *begin);
    order_set_epoch(order, 0);
    return STATUS_OK;
}

void order_free(Order *order)
{
    free(order->begin);
    free(order->start);
    free(order->shard);
    *order = (Order){0};
}

void order_set_epoch(Order *order, int64_t epoch)
{
    Rng rng = rng_make(order->config.seed, RNG_ORDER, (uint64_t)epoch, 0);
    order->epoch = epoch;
    for (int i = 0; i < order->shards; i++) order->shard[i] = i;
    for (int i = order->shards - 1; i > 0 && order->config.shuffle; i--) {
        int j = (int)rng_below(&rng, (uint64_t)i + 1), other = order->shard[j];
        order->shard[j] = order->shard[i];
        order->shard[i] = other;
    }
    order->rotation = order->config.shuffle && order->count > 0 ? (int64_t)rng_below(&rng, (uint64_t)order->count) : 0;
    order->start[0] = 0;
    for (int i = 0; i < order->shards; i++) {
        int shard = order->shard[i];
        order->start[i + 1] = order->start[i] + order->begin[shard + 1] - order->begin[shard];
    }
}

/* A bijection on 0 .. size-1. */
static uint64_t permute(uint64_t key, uint64_t size, uint64_t value)
{
    int half = 3; /* two bits a side would not reach every permutation of a handful */
    while (half < 31 && (uint64_t)1 << (2 * half) < size) half++;
    /* Four rounds make a pseudo-random permutation of a large domain (Luby, Rackoff 1988); small ones need more. */
    const uint64_t mask = ((uint64_t)1 << half) - 1, rounds = 6 + 32 / (uint64_t)half;
    do {
        uint64_t left = value >> half, right = value & mask;
        for (uint64_t round = 0; round < rounds; round++) {
            uint64_t next = left ^ (rng_at(key, round << 32 | right) & mask);
            left = right;
            right = next;
        }
        value = left << half | right;
    } while (value >= size);
    return value;
}

/* The place in the order of shards for a place in the order of the epoch. */
static int64_t within_window(const Order *order, int64_t place)
{
    int64_t windows = (order->count + ORDER_WINDOW - 1) / ORDER_WINDOW;
    int64_t width = (order->count + windows - 1) / windows; /* even, so that the last is not a handful */
    int64_t window = place / width, first = window * width;
    int64_t size = order->count - first < width ? order->count - first : width;
    Rng rng = rng_make(order->config.seed, RNG_ORDER, (uint64_t)order->epoch, 1 + (uint64_t)window);
    place = first + (int64_t)permute(rng.key, (uint64_t)size, (uint64_t)(place - first));
    return (place + order->rotation) % order->count;
}

/* Which draw of a step's images the position takes: first every image's first copy, then every second copy ... */
static int64_t spread_copies(int64_t position, int64_t step, int64_t repeats)
{
    int64_t first = position / step * step, offset = position - first;
    for (int64_t copy = 0; copy < repeats; copy++) {
        int64_t images = (step - copy + repeats - 1) / repeats;
        if (offset < images) return first + offset * repeats + copy;
        offset -= images;
    }
    return position; /* not reached: the classes add up to the step */
}

int64_t order_at(const Order *order, int64_t position)
{
    int64_t place = position, repeats = order->config.repeats;
    if (repeats > 1) place = spread_copies(position, order->config.step, repeats) / repeats;
    if (!order->config.shuffle) return place;
    place = within_window(order, place);
    int low = 0, high = order->shards; /* start[low] <= place < start[high] */
    while (high - low > 1) {
        int middle = low + (high - low) / 2;
        if (order->start[middle] <= place)
            low = middle;
        else
            high = middle;
    }
    return order->begin[order->shard[low]] + place - order->start[low];
}
