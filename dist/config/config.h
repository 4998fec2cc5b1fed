/* config.h: one run's settings: YAML file, then --set, then checks.
 *
 * Keys take timm's spelling with underscores; the table in config_keys.c is the only list of them. An unknown key, a
 * wrong type or an impossible value is STATUS_USAGE with file, line and the nearest valid key. `model:` fills the
 * architecture from the zoo wherever it stands in the file; every other key then overrides one field. `base: OTHER.yaml`,
 * a path from the file's own folder, sets everything that the file does not.
 *
 *     Config config;
 *     const char *sets[] = {"lr=1e-3", "scale=[0.2, 1]"};
 *     Status status = config_load(&config, "configs/t2t_vit_7.yaml", sets, 2, error);
 */
#ifndef DIST_CONFIG_CONFIG_H
#define DIST_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include "core/optim/optim.h"
#include "core/optim/schedule.h"
#include "core/model/zoo.h"
#include "data/augment/augment.h"
#include "dist/comm/settings.h"

typedef enum LrScale { LR_SCALE_NONE, LR_SCALE_LINEAR, LR_SCALE_SQRT } LrScale;
typedef enum CoordinatorMode { COORDINATOR_SHARED, COORDINATOR_DEDICATED } CoordinatorMode;
typedef enum CheckpointUnit { CHECKPOINT_EPOCHS, CHECKPOINT_STEPS, CHECKPOINT_SECONDS } CheckpointUnit;

/* What a key with a list of texts holds, in order; none is empty. */
enum { CONFIG_LIST = 16 };
typedef struct TextList {
    int count;
    char items[CONFIG_LIST][64];
} TextList;

typedef struct Config {
    ModelConfig model;
    char init_weights[1024]; /* "" or a safetensors file to start from */

    char data[1024];         /* folder of a converted data set */
    PipelineConfig pipeline; /* its img_size follows model.img_size */
    bool shuffle;
    int workers; /* loader threads per rank */

    int64_t batch_size; /* global: over all ranks and accumulation steps */
    int accumulate;     /* micro-batches per step */
    OptimConfig optim;
    ScheduleConfig schedule; /* its lr is the one below, times what lr_scale says */
    double lr;
    LrScale lr_scale;
    int64_t lr_base_batch;
    double transfer_ratio; /* rate of all but the head, over the head's */
    bool weight_decay_all; /* also of biases, norms and cls_token */
    TextList freeze;       /* shell patterns of tensors that stay as they are */
    double clip_grad;      /* 0: off */
    bool model_ema;
    double model_ema_decay;
    bool model_ema_warmup; /* decay ramps as (1 + step) / (10 + step) up to model_ema_decay: for short runs */
    uint64_t seed;

    int threads; /* per rank; 0: the affinity mask */
    AllreduceKind allreduce;
    int ranks_per_node; /* that share memory; 0: all of a node */
    double bucket_mb;
    WireType wire;
    int zero;         /* 0 or 1 */
    int reproducible; /* logical workers, a power of two; 0: off */
    double watchdog;  /* seconds without progress of a collective before the job is ended; 0: off */

    CoordinatorMode coordinator;
    CheckpointUnit checkpoint_unit;
    double checkpoint_every; /* in that unit */
    int keep;                /* checkpoints kept besides the best */
    int checkpoint_failures; /* checkpoints in a row that could not be written, after which a run stops; 0: never */
    double grace;            /* seconds between a signal and the end that the scheduler allows */
    int eval_every;          /* epochs between validations */
    int log_interval;        /* steps between lines */
} Config;

/* Defaults, then `path` (NULL: none), then `sets` ("key=value"), then config_check. Among the keys of the file, and
 * again among `sets`, `model` comes first; otherwise the last one counts. */
Status config_load(Config *config, const char *path, const char *const *sets, int set_count, Error *error);
/* The same from a file's text, which has no base; `name` stands for it in messages. */
Status config_parse(Config *config, const char *text, const char *name, const char *const *sets, int set_count,
                    Error *error);
void config_defaults(Config *config);                                    /* the published recipe of t2t_vit_14 */
Status config_set(Config *config, const char *assignment, Error *error); /* "key=value"; config_check is the caller's */

/* What no single key shows. Messages begin with the key to change: "warmup_epochs: 10 must be less than epochs, 5". */
Status config_check(const Config *config, Error *error);

/* The resolved configuration as a commented YAML file: every key. *text is the caller's to free. */
Status config_text(const Config *config, char **text, Error *error);
Status config_save(const Config *config, const char *path, Error *error); /* every key; loads back equal */
void config_describe(FILE *out); /* every key: default, what it takes, meaning */
void config_schema(FILE *out);   /* the same as a JSON schema, for editors */

/* The keys that differ and matter to the result (every: all keys), as lines "  lr: 0.001, was 0.0005".
 * Returns how many. */
int config_differences(const Config *config, const Config *was, bool every, char *text, size_t size);

/* The parameters of the model with what the configuration says of them: frozen or not, weight decay or not. STATUS_USAGE
 * when a pattern of `freeze` matches nothing, or nothing is left to train. */
Status config_params(const Config *config, ParamTable *table, Error *error);

/* The peak rate in words, with what lr_scale made of `lr` and from which batch. */
void config_describe_lr(const Config *config, char *text, size_t size);

/* True when the rate looks left at the published value although the batch is another; `text` is then a warning. */
bool config_lr_unscaled(const Config *config, char *text, size_t size);

/* The model in words: its name, and whether keys of the architecture make it another than the published one. */
void config_describe_model(const Config *config, char *text, size_t size);

#endif
