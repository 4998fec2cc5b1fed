#include "dist/train/same_run.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/base/file.h"
#include "core/base/path.h"
#include "dist/comm/same_text.h"
#include "version.h"

enum { MANIFEST_LIMIT = 1 << 28 };

static const char *byte_order(void)
{
    const int one = 1;
    return *(const char *)&one ? "little-endian" : "big-endian";
}

static Status same_program(const World *world, Error *error)
{
    char text[200];
    snprintf(text, sizeof text, "t2t %s, %s", T2T_VERSION, byte_order());
    return world_same_text(world, "program", text, STATUS_USAGE, "install the same t2t on every node", error);
}

/* "--output", "--timeline": what the ranks do together hangs on these, too. */
static Status same_options(const World *world, const TrainOptions *options, Error *error)
{
    char text[2 * PATH_SIZE + 100];
    snprintf(text, sizeof text, "--output %.4000s\n--resume %.4000s\n--override: %s\n--timeline: %s\n", options->output,
             options->resume ? options->resume : "(none)", options->override ? "yes" : "no",
             options->timeline ? "yes" : "no");
    return world_same_text(world, "options", text, STATUS_USAGE, "start every rank with the same options", error);
}

Status same_settings(const World *world, const Config *config, const TrainOptions *options, Error *error)
{
    Config shared = *config, defaults;
    char *text = NULL;
    config_defaults(&defaults);
    shared.threads = defaults.threads;
    shared.workers = defaults.workers;
    shared.model.recompute = defaults.model.recompute;
    shared.data[0] = 0;
    Status status = same_program(world, error);
    if (!status) status = same_options(world, options, error);
    if (status) return status;
    status = world_agree(world->comm, config_text(&shared, &text, error), error);
    if (!status)
        status = world_same_text(world, "settings", text, STATUS_USAGE,
                                 "start every rank with the same CONFIG.yaml and the same --set", error);
    free(text);
    return status;
}

Status same_data(const World *world, const Config *config, Error *error)
{
    char path[PATH_SIZE], what[PATH_SIZE + 40], *text = NULL;
    size_t size;
    Status status = path_join(path, sizeof path, config->data, "manifest.json", error);
    if (!status) status = file_read(path, MANIFEST_LIMIT, &text, &size, error);
    status = world_agree(world->comm, status, error);
    snprintf(what, sizeof what, "data in %s", path);
    if (!status)
        status = world_same_text(world, what, text, STATUS_DATA,
                                 "an older copy, perhaps: copy the data set anew, and `t2t verify` it there", error);
    free(text);
    return status;
}
