/* t2t convert: a source of images becomes a data set. Alone, or in every process of an mpirun. */
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/printable.h"
#include "core/base/thread_pool.h"
#include "data/convert/convert.h"
#include "data/dataset/manifest.h"
#include "dist/comm/team_counts.h"
#include "dist/comm/world.h"
#include "tools/args.h"
#include "tools/progress_bar.h"
#include "tools/tell.h"
#include "tools/tools.h"

static const char USAGE[] =
    "usage: t2t convert SOURCE DEST [--option value ...]\n"
    "       t2t convert --synthetic N DEST\n"
    "       mpirun -np P t2t convert SOURCE DEST ...      (shares the shards; DEST on a common file system)\n\n"
    "Makes the data set DEST: LMDB shards and, last, manifest.json. SOURCE is told by content:\n"
    "  a folder with train/CLASS/* and val/CLASS/* (or validation/), and perhaps test/CLASS/*; others are named and "
    "left out\n"
    "  a folder with ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and the devkit (read without unpacking)\n"
    "  CIFAR-10/100 binary; IDX files of the MNIST family, gzip'ed or not\n\n";

static const char NOTES[] = "\nInterrupted, the same command goes on; the result is the same, byte for byte.\n";

/* ---- the bar, of all processes */

enum { IMAGES, KEPT, REJECTED, BYTES };

typedef struct Display {
    Bar bar; /* of the first process; the others' are silent */
    TeamCounts counts;
    int64_t mine[TEAM_COUNTS];
    int64_t total; /* images of all */
} Display;

static void show_counts(Display *display, const int64_t all[TEAM_COUNTS])
{
    bar_show(&display->bar, &(BarState){.done = all[IMAGES],
                                        .total = display->total,
                                        .fresh = all[IMAGES] - all[KEPT],
                                        .bytes = all[BYTES],
                                        .kept = all[KEPT],
                                        .bad = all[REJECTED],
                                        .bad_word = "rejected"});
}

static void show_progress(void *context, const ConvertProgress *progress)
{
    Display *display = context;
    int64_t all[TEAM_COUNTS];
    display->mine[IMAGES] = progress->images;
    display->mine[KEPT] = progress->kept;
    display->mine[REJECTED] = progress->rejected;
    display->mine[BYTES] = progress->bytes;
    team_counts_update(&display->counts, display->mine, all);
    show_counts(display, all);
}

/* The first process shows how far the others are until they are done, too. */
static void finish_progress(Display *display)
{
    int64_t all[TEAM_COUNTS];
    while (!team_counts_finish(&display->counts, display->mine, all)) show_counts(display, all);
    if (all[IMAGES] == display->total) show_counts(display, all);
}

/* ---- processes */

/* MPI is started only where the launcher speaks of several processes: a single one needs none. */
static Status team_join(World *team, Error *error)
{
    char message[1024];
    *team = (World){.size = 1};
    return world_launch_problem(1, getenv, message, sizeof message) ? world_start(team, error) : STATUS_OK;
}

/* Collective: the failure of one process is that of all. */
static Status team_agree(const World *team, Status status, Error *error)
{
    return team->started ? world_agree(team->comm, status, error) : status;
}

/* ---- the command line */

static Status convert_parse(int argc, char **argv, ConvertConfig *config, Operands *operands, Error *error)
{
    static const char *const FORMATS[] = {"jpeg", "png", NULL};
    int format = -1;
    int64_t seed = 0;
    convert_defaults(config);
    config->threads = 0;
    const Arg args[] = {
        ARG_INT("shards", "N", &config->shards, "of the training split; validation gets shards of as many images", 1,
                100000),
        ARG_SIZE("shard-size", "SIZE", &config->shard_size, "instead, about so many bytes a shard (default 1G)", 1024,
                 INT64_C(1) << 44),
        ARG_NUMBER("seed", "N", &seed, "of the shuffle of the training images (default 0)", 0, INT64_C(1) << 53),
        ARG_INT("resize", "S", &config->resize,
                "shorter side S, by bicubic resampling; smaller images stay (default: original bytes)", 8, 65500),
        ARG_INT("quality", "Q", &config->quality, "of JPEGs that are encoded here (default 95)", 1, 100),
        ARG_CHOICE("encode", "FORMAT", &format, "jpeg or png: for CIFAR (default png) and IDX (default jpeg)", FORMATS),
        ARG_TEXT("class-names", "FILE", &config->class_names, "one name a line, in the place of the source's"),
        ARG_FLAG("decode", &config->decode,
                 "decode every image; without, broken ones are told by their structure alone"),
        ARG_FLAG("strict", &config->strict,
                 "end at the first broken image, instead of listing it in DEST/rejected.tsv"),
        ARG_SIZE("synthetic", "N", &config->synthetic,
                 "draw N training images (and N/5 for validation) of ten kinds of shapes instead of a SOURCE", 10,
                 100000000),
        ARG_SIZE("limit", "N", &config->limit, "at most so many images of each split, for a trial", 1,
                 INT64_C(1) << 40),
        ARG_INT("threads", "N", &config->threads, "in each process (default: the processors that it may use)", 1, 1024),
        {0},
    };
    const CommandLine line = {.name = "t2t convert", .usage = USAGE, .notes = NOTES, .args = args, .most_operands = -1};
    Status status = args_parse(&line, argc, argv, operands, error);
    if (status || operands->helped) return status;
    int wanted = config->synthetic ? 1 : 2;
    if (operands->count != wanted)
        return error_set(error, STATUS_USAGE, "%s wanted, %d given; see `t2t convert --help`",
                         config->synthetic ? "one folder, DEST, is" : "two names, SOURCE and DEST, are",
                         operands->count);
    config->seed = (uint64_t)seed;
    if (format >= 0) config->encode = format == 0 ? IMAGE_JPEG : IMAGE_PNG;
    config->source = config->synthetic ? NULL : operands->items[0];
    config->dest = operands->items[wanted - 1];
    return STATUS_OK;
}

/* ---- the conversion */

static void print_result(const char *dest)
{
    Manifest manifest;
    Error ignored = {0};
    if (manifest_read(&manifest, dest, &ignored)) return;
    int64_t exif = 0, rejected = 0;
    printf("%s:", dest);
    for (int i = 0; i < manifest.split_count; i++) {
        const ManifestSplit *split = &manifest.splits[i];
        printf("%s %s %" PRId64 " images in %d shard%s", i ? "," : "", split->name, split->count, split->shard_count,
               split->shard_count == 1 ? "" : "s");
        exif += split->stats.corrupt_exif;
        rejected += split->rejected;
    }
    printf(", %d classes\n", manifest.classes);
    if (rejected)
        printf("%" PRId64 " broken images were left out: %s/rejected.tsv says which and why\n", rejected, dest);
    if (exif) printf("%" PRId64 " images have damaged EXIF data; that does no harm\n", exif);
    manifest_free(&manifest);
}

static void print_left_out(const Convert *convert, const char *source)
{
    for (int i = 0; convert_left_out(convert, i); i++) {
        char text[4 * 1200], root[4 * 1024];
        fprintf(stderr, "t2t convert: left out: %s/%s\n", printable(root, sizeof root, source),
                printable(text, sizeof text, convert_left_out(convert, i)));
    }
}

static Status run(const World *team, ConvertConfig config, Error *error)
{
    Display display = {.bar = bar_begin(team->rank != 0)};
    config.progress = show_progress;
    config.context = &display;
    config.rank = team->rank;
    config.ranks = team->size;
    if (!config.threads) config.threads = team->started ? cores_threads(&team->cores, 0) : pool_allowed_cpus();

    Convert *convert = NULL;
    Status status = team_counts_create(&display.counts, team, error);
    if (!status) status = convert_create(&convert, &config, error);
    status = team_agree(team, status, error);
    if (status) goto free_convert;
    display.total = convert_images(convert);
    if (team->rank == 0) print_left_out(convert, config.source);
    bool done = convert_is_done(convert);
    if (team->rank == 0 && !done && !convert_is_locked(convert))
        fprintf(stderr, "t2t convert: %s: its file system has no locks; do not start a second conversion into it\n",
                config.dest);
    status = convert_run(convert, error);
    if (!done) finish_progress(&display);
    status = team_agree(team, status, error);
    if (status || team->rank != 0) goto free_convert;
    status = convert_finish(convert, error);
    if (status) goto free_convert;
    if (done) printf("already converted; nothing to do (`t2t verify %s` checks it)\n", config.dest);
    print_result(config.dest);
free_convert:
    convert_free(convert);
    team_counts_free(&display.counts);
    return team_agree(team, status, error);
}

Status tool_convert(int argc, char **argv, Error *error)
{
    ConvertConfig config;
    Operands operands;
    Status status = convert_parse(argc, argv, &config, &operands, error);
    if (status || operands.helped) return status;
    /* LMDB frees what it wrote after each transaction: keep that memory, or every record pays for its page faults. */
    mallopt(M_MMAP_THRESHOLD, 64 << 20);
    mallopt(M_TRIM_THRESHOLD, 256 << 20);
    World team;
    status = team_join(&team, error);
    if (!status) {
        status = run(&team, config, error);
        if (status) tell_failure(&team, "convert", error);
    }
    world_end(&team);
    return status;
}
