/* info.h: the kinds of things that `t2t info` can describe, one file each. */
#ifndef TOOLS_INFO_H
#define TOOLS_INFO_H

#include <stdbool.h>
#include "core/base/status.h"
#include "core/model/zoo.h"
#include "tools/json_output.h"
#include "tools/run_state.h"

typedef struct InfoOptions {
    bool tensors;              /* list every tensor */
    bool classes;              /* list every class */
    const char *contact_sheet; /* NULL, or the file for a sheet of a data set's images */
    bool json;                 /* one object on one line */
    bool watch;                /* a run: again and again while it trains */
    const Config *config;      /* from --config and --set; NULL: none given */
} InfoOptions;

/* A kind of file or folder: recognised by a look at `path`, which exists. */
typedef struct InfoKind {
    bool (*is)(const char *path);
    Status (*describe)(const char *path, const InfoOptions *options, Error *error);
} InfoKind;

bool info_is_weights(const char *path);
Status info_weights(const char *path, const InfoOptions *options, Error *error);

bool info_is_run(const char *path);
Status info_run(const char *path, const InfoOptions *options, Error *error);

bool info_is_dataset(const char *path);
Status info_dataset(const char *path, const InfoOptions *options, Error *error);

/* Runs side by side; what is no run is named on stderr and left out. */
Status info_runs(char *const *paths, int count, const InfoOptions *options, Error *error);
json_t *info_run_json(const RunState *state);

/* Where the options ask for one: a contact sheet of the data set, as a training with `config` sees it. */
Status info_contact_sheet(const char *dataset, const Config *config, const InfoOptions *options, Error *error);

Status info_models(const InfoOptions *options, Error *error); /* all published ones, a line each */
Status info_model(const ModelConfig *config, const InfoOptions *options, Error *error);

#endif
