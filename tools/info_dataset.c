/* info_dataset.c: a data set: splits, classes, sizes, odd files; and a sheet of its images. */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "core/base/file.h"
#include "core/base/path.h"
#include "core/base/printable.h"
#include "data/dataset/manifest.h"
#include "tools/info.h"
#include "tools/contact_sheet.h"

bool info_is_dataset(const char *path)
{
    static const char *const MADE[] = {"manifest.json", ".partial"};
    for (size_t i = 0; i < sizeof MADE / sizeof MADE[0]; i++) {
        char made[PATH_SIZE];
        if (path_join(made, sizeof made, path, MADE[i], &(Error){0}) == STATUS_OK && file_exists(made)) return true;
    }
    return false;
}

static void print_bar(int64_t count, int64_t most)
{
    enum { WIDTH = 40 };
    int cells = most ? (int)((double)count / (double)most * WIDTH + 0.5) : 0;
    for (int i = 0; i < cells; i++) putchar('#');
    putchar('\n');
}

static void print_sides(const DatasetStats *stats)
{
    int64_t most = 0;
    int first = SIDE_BINS, last = -1;
    for (int i = 0; i < SIDE_BINS; i++) {
        if (stats->sides[i] == 0) continue;
        if (first == SIDE_BINS) first = i;
        last = i;
        if (stats->sides[i] > most) most = stats->sides[i];
    }
    printf("  shorter side, pixels\n");
    for (int i = first; i <= last; i++) {
        int low = i ? dataset_stats_side_bound(i - 1) : 1, high = dataset_stats_side_bound(i);
        char range[32];
        snprintf(range, sizeof range, high == INT_MAX ? "%d or more" : "%d to %d", low, high - 1);
        printf("  %14s %9" PRId64 "  ", range, stats->sides[i]);
        print_bar(stats->sides[i], most);
    }
}

static void print_per_class(const DatasetStats *stats)
{
    int64_t least = INT64_MAX, most = 0;
    int empty = 0;
    for (int i = 0; i < stats->classes; i++) {
        int64_t count = stats->per_class[i];
        if (count < least) least = count;
        if (count > most) most = count;
        empty += count == 0;
    }
    printf("  images a class %" PRId64 " to %" PRId64, least, most);
    if (empty) printf("; %d classes have none", empty);
    putchar('\n');
}

static void print_split(const ManifestSplit *split)
{
    const DatasetStats *stats = &split->stats;
    double bytes = 0;
    for (int i = 0; i < split->shard_count; i++) bytes += (double)split->shards[i].summary.size;
    printf("\n%s: %" PRId64 " images in %d shard%s of %.1f MB in all\n", split->name, split->count, split->shard_count,
           split->shard_count == 1 ? "" : "s", bytes / 1e6);
    if (split->count == 0) return;
    printf("  %.1f KB an image; %" PRId64 " JPEG, %" PRId64 " PNG; of these %" PRId64 " gray, %" PRId64 " CMYK\n",
           (double)stats->bytes / (double)split->count / 1e3, stats->jpeg, stats->png, stats->gray, stats->cmyk);
    if (stats->corrupt_exif) printf("  %" PRId64 " with damaged EXIF data, which does no harm\n", stats->corrupt_exif);
    if (split->rejected) printf("  %" PRId64 " broken images were left out: see rejected.tsv\n", split->rejected);
    print_per_class(stats);
    print_sides(stats);
}

static void print_classes(const Manifest *manifest, bool all)
{
    enum { SHOWN = 12 };
    int shown = all || manifest->classes <= SHOWN ? manifest->classes : SHOWN;
    printf("\n%d classes\n", manifest->classes);
    for (int i = 0; i < shown; i++) {
        char text[512];
        printf("  %5d  %s", i, printable(text, sizeof text, manifest->class_names[i]));
        if (manifest->class_words[i]) printf("  %s", printable(text, sizeof text, manifest->class_words[i]));
        for (int split = 0; split < manifest->split_count; split++)
            printf("%s%s %" PRId64, split ? ", " : "  ", manifest->splits[split].name,
                   manifest->splits[split].stats.per_class[i]);
        putchar('\n');
    }
    if (shown < manifest->classes) printf("  ... (all with --classes)\n");
}

static void print_dataset(const char *path, const Manifest *manifest, bool all_classes)
{
    char from[64], name[4 * 512];
    printf("%s: a data set made from %s, seed %" PRIu64, printable(name, sizeof name, path),
           printable(from, sizeof from, manifest->source), manifest->seed);
    if (manifest->resize)
        printf(", shorter side at most %d, quality %d\n", manifest->resize, manifest->quality);
    else
        printf(", images as they were\n");
    for (int i = 0; i < manifest->split_count; i++) print_split(&manifest->splits[i]);
    print_classes(manifest, all_classes);
}

/* ---- JSON */

static json_t *json_split(const ManifestSplit *split, int classes)
{
    const DatasetStats *stats = &split->stats;
    json_t *per_class = json_array();
    uint64_t bytes = 0;
    for (int i = 0; i < split->shard_count; i++) bytes += split->shards[i].summary.size;
    for (int i = 0; i < classes; i++) json_array_append_new(per_class, json_integer(stats->per_class[i]));
    return json_pack("{so sI si sI sI sI sI sI sI sI so}", "name", json_words(split->name), "images",
                     (json_int_t)split->count, "shards", split->shard_count, "shard_bytes", (json_int_t)bytes,
                     "image_bytes", (json_int_t)stats->bytes, "jpeg", (json_int_t)stats->jpeg, "png",
                     (json_int_t)stats->png, "gray", (json_int_t)stats->gray, "cmyk", (json_int_t)stats->cmyk,
                     "rejected", (json_int_t)split->rejected, "per_class", per_class);
}

static json_t *json_dataset(const char *path, const Manifest *manifest)
{
    json_t *splits = json_array(), *classes = json_array();
    for (int i = 0; i < manifest->split_count; i++)
        json_array_append_new(splits, json_split(&manifest->splits[i], manifest->classes));
    for (int i = 0; i < manifest->classes; i++)
        json_array_append_new(classes, json_pack("{so so}", "name", json_words(manifest->class_names[i]), "words",
                                                 json_words(manifest->class_words[i])));
    return json_pack("{ss so so sI si si so so}", "kind", "dataset", "path", json_words(path), "source",
                     json_words(manifest->source), "seed", (json_int_t)manifest->seed, "resize", manifest->resize,
                     "quality", manifest->quality, "splits", splits, "classes", classes);
}

/* ---- */

Status info_dataset(const char *path, const InfoOptions *options, Error *error)
{
    Manifest manifest;
    Status status = manifest_read(&manifest, path, error);
    if (status) return status;
    if (options->json)
        json_print(json_dataset(path, &manifest));
    else
        print_dataset(path, &manifest, options->classes);
    manifest_free(&manifest);
    Config defaults;
    config_defaults(&defaults);
    return info_contact_sheet(path, options->config ? options->config : &defaults, options, error);
}

Status info_contact_sheet(const char *dataset, const Config *config, const InfoOptions *options, Error *error)
{
    if (!options->contact_sheet) return STATUS_OK;
    Status status = sheet_write(dataset, &config->pipeline, config->seed, options->contact_sheet, error);
    if (!status && !options->json)
        printf("\n%s: upper rows as stored, lower rows as training sees them\n", options->contact_sheet);
    return status;
}
