/* t2t convert: a source of images becomes a data set. Alone, or in every process of an mpirun. */
#include <getopt.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/thread_pool.h"
#include "data/convert/convert.h"
#include "data/dataset/manifest.h"
#include "dist/comm/world.h"
#include "tools/progress_bar.h"
#include "tools/tell.h"
#include "tools/tools.h"

static const char USAGE[] =
    "usage: t2t convert SOURCE DEST [--option value ...]\n"
    "       t2t convert --synthetic N DEST\n"
    "       mpirun -np P t2t convert SOURCE DEST ...      (shares the shards; DEST on a common file system)\n\n"
    "Makes the data set DEST: LMDB shards and, last, manifest.json. SOURCE is told by content:\n"
    "  a folder with train/CLASS/* and val/CLASS/*\n"
    "  a folder with ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and the devkit (read without unpacking)\n"
    "  CIFAR-10/100 binary; IDX files of the MNIST family, gzip'ed or not\n\n"
    "  --shards N          of the training split; validation gets shards of as many images\n"
    "  --shard-size SIZE   instead, about so many bytes a shard (default 1G)\n"
    "  --seed N            of the shuffle of the training images (default 0)\n"
    "  --resize S          shorter side S, by bicubic resampling; smaller images stay (default: original bytes)\n"
    "  --quality Q         of JPEGs that are encoded here (default 95)\n"
    "  --encode FORMAT     jpeg or png: for CIFAR (default png) and IDX (default jpeg)\n"
    "  --class-names FILE  one name a line, in the place of the source's\n"
    "  --decode            decode every image; without, broken ones are told by their structure alone\n"
    "  --strict            end at the first broken image, instead of listing it in DEST/rejected.tsv\n"
    "  --synthetic N       draw N training images (and N/5 for validation) of ten kinds of shapes instead of a SOURCE\n"
    "  --limit N           at most so many images of each split, for a trial\n"
    "  --threads N         in each process (default: the processors that it may use)\n\n"
    "Interrupted, the same command goes on; the result is the same, byte for byte.\n";

static void show_progress(void *context, const ConvertProgress *progress)
{
    bar_show(context, &(BarState){.done = progress->images,
                                  .total = progress->total,
                                  .fresh = progress->images - progress->kept,
                                  .bytes = progress->bytes,
                                  .kept = progress->kept,
                                  .bad = progress->rejected,
                                  .bad_word = "rejected"});
}

/* ---- processes */

/* MPI is started only where the launcher speaks of several processes: a single one needs none. */
static Status team_join(World *team, Error *error)
{
    char message[1024];
    *team = (World){.size = 1, .local_size = 1};
    return world_launch_problem(1, getenv, message, sizeof message) ? world_start(team, error) : STATUS_OK;
}

/* Collective: the failure of one process is that of all. */
static Status team_agree(const World *team, Status status, Error *error)
{
    return team->started ? world_agree(team->comm, status, error) : status;
}

/* ---- the command line */

static Status parse_number(const char *option, const char *text, int64_t low, int64_t high, int64_t *number,
                           Error *error)
{
    char *end;
    double value = strtod(text, &end);
    switch (*end) {
    case 'k':
        value *= 1 << 10, end++;
        break;
    case 'M':
        value *= 1 << 20, end++;
        break;
    case 'G':
        value *= 1 << 30, end++;
        break;
    }
    if (end == text || *end || !(value >= (double)low && value <= (double)high))
        return error_set(error, STATUS_USAGE, "--%s %s: a number from %" PRId64 " to %" PRId64 " is wanted", option,
                         text, low, high);
    *number = (int64_t)value;
    return STATUS_OK;
}

static Status parse_format(const char *text, ImageFormat *format, Error *error)
{
    if (strcmp(text, "jpeg") == 0)
        *format = IMAGE_JPEG;
    else if (strcmp(text, "png") == 0)
        *format = IMAGE_PNG;
    else
        return error_set(error, STATUS_USAGE, "--encode %s: jpeg or png is wanted", text);
    return STATUS_OK;
}

enum {
    OPT_SHARDS = 1,
    OPT_SHARD_SIZE,
    OPT_SEED,
    OPT_RESIZE,
    OPT_QUALITY,
    OPT_ENCODE,
    OPT_CLASS_NAMES,
    OPT_DECODE,
    OPT_STRICT,
    OPT_SYNTHETIC,
    OPT_LIMIT,
    OPT_THREADS,
    OPT_HELP
};

static const struct option OPTIONS[] = {{"shards", required_argument, NULL, OPT_SHARDS},
                                        {"shard-size", required_argument, NULL, OPT_SHARD_SIZE},
                                        {"seed", required_argument, NULL, OPT_SEED},
                                        {"resize", required_argument, NULL, OPT_RESIZE},
                                        {"quality", required_argument, NULL, OPT_QUALITY},
                                        {"encode", required_argument, NULL, OPT_ENCODE},
                                        {"class-names", required_argument, NULL, OPT_CLASS_NAMES},
                                        {"decode", no_argument, NULL, OPT_DECODE},
                                        {"strict", no_argument, NULL, OPT_STRICT},
                                        {"synthetic", required_argument, NULL, OPT_SYNTHETIC},
                                        {"limit", required_argument, NULL, OPT_LIMIT},
                                        {"threads", required_argument, NULL, OPT_THREADS},
                                        {"help", no_argument, NULL, OPT_HELP},
                                        {0}};

static Status parse_option(ConvertConfig *config, int option, Error *error)
{
    int64_t number = 0;
    Status status = STATUS_OK;
    switch (option) {
    case OPT_SHARDS:
        status = parse_number("shards", optarg, 1, 100000, &number, error);
        config->shards = (int)number;
        break;
    case OPT_SHARD_SIZE:
        status = parse_number("shard-size", optarg, 1024, (int64_t)1 << 44, &config->shard_size, error);
        break;
    case OPT_SEED:
        status = parse_number("seed", optarg, 0, (int64_t)1 << 53, &number, error);
        config->seed = (uint64_t)number;
        break;
    case OPT_RESIZE:
        status = parse_number("resize", optarg, 8, 65500, &number, error);
        config->resize = (int)number;
        break;
    case OPT_QUALITY:
        status = parse_number("quality", optarg, 1, 100, &number, error);
        config->quality = (int)number;
        break;
    case OPT_ENCODE:
        status = parse_format(optarg, &config->encode, error);
        break;
    case OPT_CLASS_NAMES:
        config->class_names = optarg;
        break;
    case OPT_DECODE:
        config->decode = true;
        break;
    case OPT_STRICT:
        config->strict = true;
        break;
    case OPT_SYNTHETIC:
        status = parse_number("synthetic", optarg, 10, 100000000, &config->synthetic, error);
        break;
    case OPT_LIMIT:
        status = parse_number("limit", optarg, 1, (int64_t)1 << 40, &config->limit, error);
        break;
    case OPT_THREADS:
        status = parse_number("threads", optarg, 1, 1024, &number, error);
        config->threads = (int)number;
        break;
    default:
        status = error_set(error, STATUS_USAGE, "`t2t convert --help` lists the options");
    }
    return status;
}

static Status parse(int argc, char **argv, ConvertConfig *config, bool *help, Error *error)
{
    convert_defaults(config);
    config->threads = 0;
    optind = 0;
    for (int option; (option = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1;) {
        if (option == OPT_HELP) {
            *help = true;
            return STATUS_OK;
        }
        Status status = parse_option(config, option, error);
        if (status) return status;
    }
    int wanted = config->synthetic ? 1 : 2;
    if (argc - optind != wanted)
        return error_set(error, STATUS_USAGE, "%s wanted, %d given; see `t2t convert --help`",
                         config->synthetic ? "one folder, DEST, is" : "two names, SOURCE and DEST, are", argc - optind);
    config->source = config->synthetic ? NULL : argv[optind];
    config->dest = argv[argc - 1];
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

static Status run(const World *team, ConvertConfig config, Error *error)
{
    Bar bar = bar_begin(team->rank != 0);
    config.progress = show_progress;
    config.context = &bar;
    config.rank = team->rank;
    config.ranks = team->size;
    int threads = pool_allowed_cpus() / team->local_size;
    if (!config.threads) config.threads = threads < 1 ? 1 : threads;

    Convert *convert;
    Status status = team_agree(team, convert_create(&convert, &config, error), error);
    if (status) goto free_convert;
    bool done = convert_is_done(convert);
    if (team->rank == 0 && !done && !convert_is_locked(convert))
        fprintf(stderr, "t2t convert: %s: its file system has no locks; do not start a second conversion into it\n",
                config.dest);
    status = team_agree(team, convert_run(convert, error), error);
    if (status || team->rank != 0) goto free_convert;
    status = convert_finish(convert, error);
    if (status) goto free_convert;
    if (done) printf("already converted; nothing to do (`t2t verify %s` checks it)\n", config.dest);
    print_result(config.dest);
free_convert:
    convert_free(convert);
    return team_agree(team, status, error);
}

Status tool_convert(int argc, char **argv, Error *error)
{
    ConvertConfig config;
    bool help = false;
    Status status = parse(argc, argv, &config, &help, error);
    if (status) return status;
    if (help) {
        fputs(USAGE, stdout);
        return STATUS_OK;
    }
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
