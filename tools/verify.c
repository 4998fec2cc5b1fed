/* t2t verify: is this data set whole? */
#include <inttypes.h>
#include <stdio.h>

#include "core/base/thread_pool.h"
#include "data/dataset/verify.h"
#include "tools/args.h"
#include "tools/json_output.h"
#include "tools/progress_bar.h"
#include "tools/tools.h"

static const char USAGE[] =
    "usage: t2t verify DATASET [--decode] [--threads N] [--json]\n\n"
    "Checks every shard's size and hash, every record's header, hash and label, every image's structure, and that all\n"
    "adds up to manifest.json. Tells each thing that is wrong; exits with 3 if there is any.\n\n";

typedef struct Display {
    Bar bar;
    int64_t told;
    json_t *problems; /* NULL: they are printed */
} Display;

enum { MAX_TOLD = 100 };

static void show_problem(void *context, const char *problem)
{
    Display *display = context;
    if (display->told++ >= MAX_TOLD) return;
    if (display->problems)
        json_array_append_new(display->problems, json_words(problem));
    else
        printf("%s%s\n", display->bar.terminal ? "\r\033[K" : "", problem);
}

static void show_verify_progress(void *context, const VerifyCounts *counts)
{
    Display *display = context;
    bar_show(&display->bar, &(BarState){.done = counts->images,
                                        .total = counts->total,
                                        .fresh = counts->images,
                                        .bad = counts->problems,
                                        .bad_word = "problems"});
}

/* Consumes the list of problems. A failure that is none of them (no manifest, say) stands among them, too. */
static void print_verified(const char *folder, const VerifyCounts *counts, json_t *problems, Status status,
                           const Error *error)
{
    if (status && json_array_size(problems) == 0) json_array_append_new(problems, json_words(error->message));
    json_print(json_pack("{so sb sI sI so}", "path", json_words(folder), "good", status == STATUS_OK, "images",
                         (json_int_t)counts->images, "problem_count", (json_int_t)counts->problems, "problems",
                         problems));
}

Status tool_verify(int argc, char **argv, Error *error)
{
    bool json = false;
    Display display = {.bar = bar_begin(false)};
    VerifyOptions options = {
        .threads = pool_allowed_cpus(), .found = show_problem, .progress = show_verify_progress, .context = &display};
    const Arg args[] = {
        ARG_FLAG("decode", &options.decode, "also decode every image to its last pixel"),
        ARG_FLAG("json", &json, "one line of JSON, with the first 100 problems"),
        ARG_INT("threads", "N", &options.threads, "(default: the processors that it may use)", 1, 65536),
        {0},
    };
    const CommandLine line = {.name = "t2t verify", .usage = USAGE, .args = args, .most_operands = 1};
    Operands folders;
    Status status = args_parse(&line, argc, argv, &folders, error);
    if (status || folders.helped) return status;
    if (folders.count != 1) return error_set(error, STATUS_USAGE, "one data set is wanted; see `t2t verify --help`");
    const char *folder = folders.items[0];
    VerifyCounts counts = {0};
    if (json) display.problems = json_array();
    status = dataset_verify(folder, &options, &counts, error);
    if (json) {
        print_verified(folder, &counts, display.problems, status, error);
        return status;
    }
    if (display.told > MAX_TOLD) printf("... and %" PRId64 " more\n", display.told - MAX_TOLD);
    if (!status)
        printf("%s: good: %" PRId64 " images, each %s\n", folder, counts.images,
               options.decode ? "decoded" : "looked through (--decode decodes them too)");
    return status;
}
