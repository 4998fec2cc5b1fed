#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/path.h"
#include "data/convert/convert_plan.h"
#include "data/image/resize.h"

/* What one thread works with. */
typedef struct Work {
    const ShardJob *job;
    ShardWriter *writer;
    DoneMarker marker;
    SourceImage image;
    Image pixels, resized;
    Resizer resizer;
    unsigned char *encoded; /* of the present image, when it had to be encoded */
} Work;

/* info: of the source's image; then of the one that is stored. */
static Status encode(Work *work, const Image *image, ImageFormat format, Record *record, ImageInfo *info, Error *error)
{
    bool gray = info->components == 1;
    size_t size;
    Status status = format == IMAGE_PNG
                        ? image_encode_png(image, gray, &work->encoded, &size, error)
                        : image_encode_jpeg(image, work->job->config->quality, gray, &work->encoded, &size, error);
    if (status) return status;
    *info = (ImageInfo){.format = format, .width = image->width, .height = image->height, .components = gray ? 1 : 3};
    *record = (Record){
        .format = format, .width = image->width, .height = image->height, .bytes = work->encoded, .size = size};
    return STATUS_OK;
}

/* The shorter side becomes `side`, the longer follows truncated, as torchvision's Resize. */
static Status make_smaller(Work *work, const Image *image, int side, Error *error)
{
    bool wide = image->width > image->height;
    int shorter = wide ? image->height : image->width, longer = wide ? image->width : image->height;
    int other = (int)((int64_t)side * longer / shorter);
    ResizeTarget target = {.width = wide ? other : side, .height = wide ? side : other};
    target.columns = target.width;
    target.rows = target.height;
    Status status = image_reserve(&work->resized, target.width, target.height, error);
    if (status) return status;
    ResizeSource source = {image->pixels, image->width, image->height, (ptrdiff_t)image->width * 3};
    return resize(&work->resizer, source, target, INTERPOLATION_BICUBIC, work->resized.pixels, error);
}

static bool is_larger(const ImageInfo *info, int side)
{
    return side > 0 && info->width > side && info->height > side;
}

/* From what the source gave to what is stored. STATUS_DATA: the image is broken. */
static Status make_record(Work *work, Record *record, ImageInfo *info, Error *error)
{
    const ConvertConfig *config = work->job->config;
    SourceImage *image = &work->image;
    const Image *pixels = image->is_pixels ? &image->pixels : &work->pixels;
    ImageFormat format = config->encode ? config->encode : work->job->source->encode_as;
    Status status = STATUS_OK;
    if (image->is_pixels)
        *info = (ImageInfo){
            .format = format, .width = pixels->width, .height = pixels->height, .components = image->gray ? 1 : 3};
    else
        status = image_check(image->bytes, image->size, info, error);
    bool smaller = is_larger(info, config->resize);
    if (!status && !image->is_pixels && (smaller || config->decode))
        status = image_decode(image->bytes, image->size, &work->pixels, error);
    if (!status && smaller) status = make_smaller(work, pixels, config->resize, error);
    if (status) return status;
    if (smaller || image->is_pixels)
        return encode(work, smaller ? &work->resized : pixels, format, record, info, error);
    *record = (Record){.format = info->format,
                       .width = info->width,
                       .height = info->height,
                       .bytes = image->bytes,
                       .size = image->size};
    return STATUS_OK;
}

static Status reject(Work *work, const SourceItem *item, Error *why, Error *error)
{
    const char *name = source_name(work->job->source, item);
    if (work->job->config->strict) {
        error_set(error, STATUS_DATA, "%s: %s", name, why->message);
        return error_add(error, "  hint: without --strict, broken images are left out and listed in rejected.tsv");
    }
    why->message[strcspn(why->message, "\n")] = 0;
    return done_marker_reject(&work->marker, name, why->message, error);
}

static Status convert_item(Work *work, const SourceItem *item, Error *error)
{
    const ShardJob *job = work->job;
    Record record = {0};
    ImageInfo info = {0};
    Error why = {0};
    Status status = job->source->read(job->source, item, &work->image, &why);
    if (!status) status = make_record(work, &record, &info, &why);
    if (!status) {
        record.label = item->label;
        status = shard_writer_append(work->writer, &record, error);
        if (!status) dataset_stats_count(&work->marker.stats, item->label, record.size, &info);
    } else if (status == STATUS_DATA) {
        status = reject(work, item, &why, error);
        if (!status) job->done(job->context, 0, true);
        return status;
    } else {
        error_set(error, status, "%s", why.message);
    }
    free(work->encoded);
    work->encoded = NULL;
    if (!status) job->done(job->context, (int64_t)record.size, false);
    return status;
}

static int compare_places(const void *a, const void *b)
{
    const SourceItem *x = *(const SourceItem *const *)a, *y = *(const SourceItem *const *)b;
    if (x->file != y->file) return x->file < y->file ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* Positions are shuffled, the source's disk is not: a window of images is announced in the order in which they lie
 * there, then read from memory in the order in which they are wanted. */
static void prefetch(const ShardJob *job, int64_t begin, int64_t end, const SourceItem **window)
{
    const SourceItem *items = job->source->splits[job->shard->split].items;
    const uint32_t *order = job->plan->order[job->shard->split];
    size_t count = 0;
    for (int64_t i = begin; i < end; i++) window[count++] = &items[order[i]];
    qsort(window, count, sizeof *window, compare_places);
    for (size_t i = 0; i < count; i++) job->source->prefetch(job->source, window[i]);
}

static Status convert_items(Work *work, Error *error)
{
    enum { WINDOW = 1024 };
    const ShardJob *job = work->job;
    const SourceItem *items = job->source->splits[job->shard->split].items, *window[WINDOW];
    const uint32_t *order = job->plan->order[job->shard->split];
    Status status = STATUS_OK;
    for (int64_t i = job->shard->begin; i < job->shard->end && !status; i++) {
        int64_t done = i - job->shard->begin;
        if (job->source->prefetch && done % WINDOW == 0)
            prefetch(job, i, i + WINDOW < job->shard->end ? i + WINDOW : job->shard->end, window);
        if (__atomic_load_n(job->cancelled, __ATOMIC_RELAXED))
            return error_set(error, STATUS_FAILED, "ended because another thread failed");
        status = convert_item(work, &items[order[i]], error);
    }
    return status;
}

Status convert_shard(const ShardJob *job, Error *error)
{
    char path[PATH_SIZE], folder[PATH_SIZE], partial[PATH_SIZE];
    const char *dest = job->config->dest;
    Status status = path_join(path, sizeof path, dest, job->shard->file, error);
    if (!status) status = path_join(folder, sizeof folder, dest, ".partial", error);
    if (!status) status = path_join(partial, sizeof partial, folder, job->shard->file, error);
    if (status) return status;
    Work work = {.job = job};
    ManifestShard *shard = &work.marker.shard;
    snprintf(shard->file, sizeof shard->file, "%s", job->shard->file);
    status = dataset_stats_create(&work.marker.stats, job->source->classes, error);
    if (!status) status = shard_writer_create(&work.writer, partial, error);
    if (status) goto free_work;
    status = convert_items(&work, error);
    status = shard_writer_finish(work.writer, status, &shard->summary, error);
    if (status) goto free_work;
    if (rename(partial, path) != 0)
        status = error_set(error, STATUS_FAILED, "%s: cannot rename to %s: %m", partial, path);
    if (!status) status = file_sync_folder(path, error);
    if (!status) status = done_marker_write(&work.marker, dest, job->plan->fingerprint, error);
free_work:
    free(work.encoded);
    source_image_free(&work.image);
    image_free(&work.pixels);
    image_free(&work.resized);
    resizer_free(&work.resizer);
    done_marker_free(&work.marker);
    return status;
}
