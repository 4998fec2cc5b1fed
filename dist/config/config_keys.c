#include "dist/config/config_keys.h"

#include <string.h>

#include "core/base/suggest.h"
#include "data/augment/erase.h"

/* Names in the order of the enums. */
static const char *const TOKENS_TYPES[] = {"performer", "transformer", "convolution", "patch", NULL};
static const char *const VARIANTS[] = {"plain", "se", "ghost", "dense", NULL};
static const char *const RECOMPUTES[] = {"none", "tokens", "mlp", "blocks", NULL};
static const char *const PRECISIONS[] = {"fp32", "bf16", NULL};
static const char *const OPTS[] = {"adamw", "sgd", "momentum", "lamb", NULL};
static const char *const LR_SCALES[] = {"none", "linear", "sqrt", NULL};
static const char *const SCHEDS[] = {"cosine", "constant", NULL};
static const char *const INTERPOLATIONS[] = {"random", "bilinear", "bicubic", NULL};
static const char *const REMODES[] = {"const", "rand", "pixel", NULL};
static const char *const MIX_MODES[] = {"batch", "pair", "elem", NULL};
static const char *const ALLREDUCES[] = {"auto", "ring", "hierarchical", "mpi", "tree", NULL};
static const char *const WIRES[] = {"fp32", "bf16", "fp16", NULL};
static const char *const COORDINATORS[] = {"shared", "dedicated", NULL};

_Static_assert(sizeof(TokensType) == sizeof(int) && sizeof(Variant) == sizeof(int) &&
                   sizeof(Recompute) == sizeof(int) && sizeof(Precision) == sizeof(int) &&
                   sizeof(OptKind) == sizeof(int) && sizeof(SchedKind) == sizeof(int) &&
                   sizeof(LrScale) == sizeof(int) && sizeof(Interpolation) == sizeof(int) &&
                   sizeof(EraseMode) == sizeof(int) && sizeof(MixMode) == sizeof(int) &&
                   sizeof(AllreduceKind) == sizeof(int) && sizeof(WireType) == sizeof(int) &&
                   sizeof(CoordinatorMode) == sizeof(int),
               "KEY_CHOICE writes an int");

/* clang-format off */
#define FIELD(kind, field, size) kind, offsetof(Config, field), size
#define BOOL(field)              FIELD(KEY_BOOL, field, 0), NO_RANGE, NULL
#define INT(field, ...)          FIELD(KEY_INT, field, 0), __VA_ARGS__, NULL
#define INT64(field, ...)        FIELD(KEY_INT64, field, 0), __VA_ARGS__, NULL
#define UINT64(field)            FIELD(KEY_UINT64, field, 0), NO_RANGE, NULL
#define REAL(field, ...)         FIELD(KEY_REAL, field, 0), __VA_ARGS__, NULL
#define REALS(field, count, ...) FIELD(KEY_REALS, field, count), __VA_ARGS__, NULL
#define TEXT(field)              FIELD(KEY_TEXT, field, sizeof((Config *)0)->field - 1), NO_RANGE, NULL
#define CHOICE(field, names)     FIELD(KEY_CHOICE, field, 0), NO_RANGE, names
#define DURATION(field, ...)     FIELD(KEY_DURATION, field, 0), __VA_ARGS__, NULL
#define OTHER(kind, at, n, ...)  FIELD(kind, at, n), __VA_ARGS__, NULL

#define NO_RANGE      {.min = 0}
#define AT_LEAST(a)   {.min = (a), .max = KEY_UNBOUNDED}
#define ABOVE(a)      {.min = (a), .max = KEY_UNBOUNDED, .above_min = true}
#define BETWEEN(a, b) {.min = (a), .max = (b)}
#define BELOW(b)      {.min = 0, .max = (b), .below_max = true}                    /* 0 allowed */
#define WITHIN(a, b)  {.min = (a), .max = (b), .above_min = true, .below_max = true} /* neither bound allowed */
#define SHARE(b)      {.min = 0, .max = (b), .above_min = true}                    /* 0 not allowed */

enum { FIXED = false, FREE = true }; /* may a resumed run change it? */

static const char MODEL[] = "model";
/* Checked by zoo_check: the ranges below only keep the signs. */
static const char ARCHITECTURE[] = "architecture: `model` sets these, each can be overridden";
static const char DATA[] = "data";
static const char AUGMENTATION[] = "augmentation";
static const char OPTIMIZER[] = "optimizer and schedule";
static const char MACHINE[] = "machine";
static const char RUN[] = "run";

static const Key KEYS[] = {
    {MODEL, "model", OTHER(KEY_MODEL, model.name, 0, NO_RANGE), FIXED, "architecture, by name (`t2t info --models` lists them)"},
    {MODEL, "img_size", INT(model.img_size, AT_LEAST(1)), FIXED, "side of the square input, in pixels"},
    {MODEL, "num_classes", INT(model.num_classes, AT_LEAST(1)), FIXED, "width of the head"},
    {MODEL, "init_weights", TEXT(init_weights), FIXED, "safetensors file to start from; empty: initialise anew"},
    {MODEL, "drop", REAL(model.drop, BELOW(1)), FIXED, "dropout after projections, in MLPs and on positions"},
    {MODEL, "attn_drop", REAL(model.attn_drop, BELOW(1)), FIXED, "dropout of attention weights"},
    {MODEL, "drop_path", REAL(model.drop_path, BELOW(1)), FIXED,
     "stochastic depth of the last block, linear from 0"},
    {MODEL, "token_dropout", REAL(model.token_dropout, BELOW(1)), FIXED, "dropout inside the token performer"},

    {ARCHITECTURE, "tokens_type", CHOICE(model.tokens_type, TOKENS_TYPES), FIXED,
     "token layers of the T2T module; patch: plain ViT"},
    {ARCHITECTURE, "token_dim", INT(model.token_dim, AT_LEAST(0)), FIXED, "width inside the T2T module"},
    {ARCHITECTURE, "splits", OTHER(KEY_SPLITS, model.splits, MAX_SPLITS, BETWEEN(0, 1024)), FIXED,
     "soft splits: kernel, stride, padding of each"},
    {ARCHITECTURE, "embed_dim", INT(model.embed_dim, AT_LEAST(0)), FIXED, "width of the backbone"},
    {ARCHITECTURE, "depth", INT(model.depth, AT_LEAST(0)), FIXED, "blocks of the backbone"},
    {ARCHITECTURE, "num_heads", INT(model.num_heads, AT_LEAST(0)), FIXED, "attention heads of a block"},
    {ARCHITECTURE, "mlp_ratio", REAL(model.mlp_ratio, ABOVE(0)), FIXED, "hidden width of the MLP over embed_dim"},
    {ARCHITECTURE, "qkv_bias", BOOL(model.qkv_bias), FIXED, "bias of the query, key and value projection"},
    {ARCHITECTURE, "qk_scale", REAL(model.qk_scale, AT_LEAST(0)), FIXED, "attention scale; 0: head width ^ -0.5"},
    {ARCHITECTURE, "norm_eps", REAL(model.norm_eps, WITHIN(0, 1)), FIXED, "epsilon of LayerNorm"},
    {ARCHITECTURE, "variant", CHOICE(model.variant, VARIANTS), FIXED, "kind of backbone block"},
    {ARCHITECTURE, "growth_rate", INT(model.growth_rate, AT_LEAST(0)), FIXED, "dense: width that each block adds"},
    {ARCHITECTURE, "block_config", OTHER(KEY_BLOCKS, model.block_config, MAX_DENSE_GROUPS, BETWEEN(1, 1024)), FIXED,
     "dense: blocks of each group; else []"},

    {DATA, "data", TEXT(data), FREE, "folder of a converted data set"},
    {DATA, "batch_size", INT64(batch_size, BETWEEN(1, 1 << 30)), FIXED, "global: images per update, over all ranks"},
    {DATA, "shuffle", BOOL(shuffle), FIXED, "a new order each epoch; false: file order"},
    {DATA, "workers", INT(workers, BETWEEN(0, 1024)), FREE, "loader threads per rank; 0: load inside the step"},
    {DATA, "crop_pct", REAL(pipeline.crop_pct, SHARE(1)), FIXED,
     "evaluation: share of the resized side that is kept"},
    {DATA, "interpolation", CHOICE(pipeline.interpolation, INTERPOLATIONS), FIXED, "evaluation: resize filter"},
    {DATA, "mean", REALS(pipeline.mean, 3, BETWEEN(0, 1)), FIXED, "normalisation of pixels in 0 .. 1: subtracted"},
    {DATA, "std", REALS(pipeline.std, 3, ABOVE(0)), FIXED, "normalisation: divided by"},

    {AUGMENTATION, "no_aug", BOOL(pipeline.no_aug), FIXED, "train on the evaluation crop, without augmentation"},
    {AUGMENTATION, "scale", REALS(pipeline.scale, 2, SHARE(1)), FIXED, "random resized crop: share of the area"},
    {AUGMENTATION, "ratio", REALS(pipeline.ratio, 2, SHARE(100)), FIXED, "random resized crop: width over height"},
    {AUGMENTATION, "crop_padding", INT(pipeline.crop_padding, BETWEEN(0, 1024)), FIXED,
     "pad and crop instead of a resized crop; 0: off"},
    {AUGMENTATION, "hflip", REAL(pipeline.hflip, BETWEEN(0, 1)), FIXED, "probability of a left-right flip"},
    {AUGMENTATION, "vflip", REAL(pipeline.vflip, BETWEEN(0, 1)), FIXED, "probability of an upside-down flip"},
    {AUGMENTATION, "color_jitter", REAL(pipeline.color_jitter, BETWEEN(0, 1)), FIXED,
     "brightness, contrast, colour; only without aa"},
    {AUGMENTATION, "aa", TEXT(pipeline.aa), FIXED, "RandAugment, such as rand-m9-mstd0.5-inc1; empty: off"},
    {AUGMENTATION, "train_interpolation", CHOICE(pipeline.train_interpolation, INTERPOLATIONS), FIXED,
     "resize filter of training crops"},
    {AUGMENTATION, "reprob", REAL(pipeline.reprob, BETWEEN(0, 1)), FIXED, "probability of random erasing"},
    {AUGMENTATION, "remode", CHOICE(pipeline.remode, REMODES), FIXED,
     "erase with zero, one colour, or noise per pixel"},
    {AUGMENTATION, "recount", INT(pipeline.recount, BETWEEN(1, ERASE_MAX_COUNT)), FIXED, "most areas erased in an image"},
    {AUGMENTATION, "mixup", REAL(pipeline.mixup, BETWEEN(0, 100)), FIXED, "alpha of mixup; 0: off"},
    {AUGMENTATION, "cutmix", REAL(pipeline.cutmix, BETWEEN(0, 100)), FIXED, "alpha of cutmix; 0: off"},
    {AUGMENTATION, "mixup_prob", REAL(pipeline.mixup_prob, BETWEEN(0, 1)), FIXED, "probability of mixup or cutmix"},
    {AUGMENTATION, "mixup_switch_prob", REAL(pipeline.mixup_switch_prob, BETWEEN(0, 1)), FIXED,
     "probability of cutmix when both are on"},
    {AUGMENTATION, "mixup_mode", CHOICE(pipeline.mixup_mode, MIX_MODES), FIXED, "one draw per group of mixup_group images, pair or image"},
    {AUGMENTATION, "mixup_group", INT(pipeline.mixup_group, BETWEEN(0, 1 << 30)), FIXED,
     "mixup_mode batch: images that share a draw, as those of one process do in the official code; 0: all"},
    {AUGMENTATION, "mixup_off_epoch", INT(pipeline.mixup_off_epoch, BETWEEN(0, 1000000)), FIXED,
     "no mixup or cutmix from this epoch; 0: never off"},
    {AUGMENTATION, "smoothing", REAL(pipeline.smoothing, BELOW(1)), FIXED, "label smoothing"},
    {AUGMENTATION, "aug_repeats", INT(pipeline.aug_repeats, BETWEEN(0, 100)), FIXED,
     "repeated augmentation: copies per image; 0: off"},

    {OPTIMIZER, "opt", CHOICE(optim.kind, OPTS), FIXED, "sgd is Nesterov's, momentum the plain one; lamb clips gradients to norm 1 by itself"},
    {OPTIMIZER, "opt_eps", REAL(optim.eps, ABOVE(0)), FIXED, "adamw, lamb: epsilon; timm's lamb has 1e-6"},
    {OPTIMIZER, "opt_betas", REALS(optim.beta1, 2, BELOW(1)), FIXED, "adamw, lamb: decay of the two moments"},
    {OPTIMIZER, "momentum", REAL(optim.momentum, BELOW(1)), FIXED, "sgd, momentum"},
    {OPTIMIZER, "weight_decay", REAL(optim.weight_decay, AT_LEAST(0)), FIXED, "not on biases, norms and cls_token"},
    {OPTIMIZER, "weight_decay_all", BOOL(weight_decay_all), FIXED, "weight_decay on those, too"},
    {OPTIMIZER, "clip_grad", REAL(clip_grad, AT_LEAST(0)), FIXED, "largest global gradient norm; 0: no clipping"},
    {OPTIMIZER, "sched", CHOICE(schedule.kind, SCHEDS), FIXED, "after the warm-up"},
    {OPTIMIZER, "sched_on_updates", BOOL(schedule.per_step), FIXED,
     "the rate changes every step instead of every epoch"},
    {OPTIMIZER, "lr", REAL(lr, ABOVE(0)), FIXED, "peak learning rate; lr_scale says for which batch"},
    {OPTIMIZER, "lr_scale", CHOICE(lr_scale, LR_SCALES), FIXED,
     "none: lr is for the global batch as it is; linear, sqrt: times batch_size / lr_base_batch, or its root"},
    {OPTIMIZER, "lr_base_batch", INT64(lr_base_batch, BETWEEN(1, 1 << 30)), FIXED, "lr_scale: the global batch lr is for"},
    {OPTIMIZER, "transfer_ratio", REAL(transfer_ratio, ABOVE(0)), FIXED,
     "rate of everything but the head, over the head's: each goes from its own peak to min_lr"},
    {OPTIMIZER, "freeze", OTHER(KEY_TEXTS, freeze, 63, NO_RANGE), FIXED,
     "tensors that stay as they are: shell patterns of their names, as [cls_token, norm.*]"},
    {OPTIMIZER, "min_lr", REAL(schedule.min_lr, AT_LEAST(0)), FIXED, "end of the cosine, and the cool-down"},
    {OPTIMIZER, "warmup_lr", REAL(schedule.warmup_lr, AT_LEAST(0)), FIXED, "start of the warm-up"},
    {OPTIMIZER, "epochs", INT(schedule.epochs, BETWEEN(1, 1000000)), FIXED, "warm-up included, cool-down not"},
    {OPTIMIZER, "warmup_epochs", INT(schedule.warmup_epochs, BETWEEN(0, 1000000)), FIXED, "linear rise from warmup_lr"},
    {OPTIMIZER, "cooldown_epochs", INT(schedule.cooldown_epochs, BETWEEN(0, 1000000)), FIXED,
     "at min_lr, after epochs"},
    {OPTIMIZER, "model_ema", BOOL(model_ema), FIXED, "keep a moving average of the weights"},
    {OPTIMIZER, "model_ema_decay", REAL(model_ema_decay, BELOW(1)), FIXED, "per step"},
    {OPTIMIZER, "model_ema_warmup", BOOL(model_ema_warmup), FIXED, "decay ramps as (1+step)/(10+step): for short runs"},
    {OPTIMIZER, "seed", UINT64(seed), FIXED, "of everything random"},

    {MACHINE, "threads", INT(threads, BETWEEN(0, 4096)), FREE,
     "that compute, per rank; 0: one per core that the rank may use, divided among the ranks of a node that may use "
     "the same ones; more are cut to that"},
    {MACHINE, "accumulate", INT(accumulate, BETWEEN(1, 1 << 20)), FREE,
     "micro-batches per update; more of them need less memory"},
    {MACHINE, "recompute", CHOICE(model.recompute, RECOMPUTES), FREE,
     "in backward instead of keeping it: each choice needs less memory and more time than the one before"},
    {MACHINE, "precision", CHOICE(model.precision, PRECISIONS), FIXED,
     "of what matrix products multiply; bf16 needs AVX512_BF16 or AMX, and keeps weights and sums in float32"},
    {MACHINE, "allreduce", CHOICE(allreduce, ALLREDUCES), FREE,
     "how gradients are summed; auto measures what is faster between nodes"},
    {MACHINE, "ranks_per_node", INT(ranks_per_node, BETWEEN(0, 1 << 16)), FREE,
     "ranks that sum through shared memory, such as those of a NUMA domain; 0: all of a node"},
    {MACHINE, "bucket_mb", REAL(bucket_mb, SHARE(1 << 20)), FREE, "gradients go out in buckets of this size"},
    {MACHINE, "wire", CHOICE(wire, WIRES), FIXED, "number format of gradients on the network"},
    {MACHINE, "zero", INT(zero, BETWEEN(0, 1)), FREE, "1: each rank keeps and writes one slice of the optimizer state"},
    {MACHINE, "reproducible", INT(reproducible, BETWEEN(0, 1 << 16)), FIXED,
     "the same bits on 1, 2, 4 ... up to this many ranks, a power of two that divides batch_size; 0: off"},
    {MACHINE, "watchdog", DURATION(watchdog, AT_LEAST(0)), FREE,
     "end the job when a collective stands still; 0s: never"},

    {RUN, "coordinator", CHOICE(coordinator, COORDINATORS), FREE, "rank 0 also trains, or one rank more that does not"},
    {RUN, "checkpoint_every", OTHER(KEY_CHECKPOINT, checkpoint_every, 0, ABOVE(0)), FREE, "30min, 1000steps or 1epoch"},
    {RUN, "keep", INT(keep, BETWEEN(1, 1000000)), FREE, "checkpoints kept besides the best"},
    {RUN, "checkpoint_failures", INT(checkpoint_failures, BETWEEN(0, 1000000)), FREE,
     "checkpoints in a row that could not be written, after which the run stops; 0: never"},
    {RUN, "grace", DURATION(grace, AT_LEAST(0)), FREE, "between the scheduler's signal and its kill"},
    {RUN, "eval_every", INT(eval_every, BETWEEN(1, 1000000)), FREE, "epochs from one validation to the next"},
    {RUN, "log_interval", INT(log_interval, BETWEEN(1, 1 << 30)), FREE, "steps from one logged line to the next"},
};
/* clang-format on */

enum { KEY_COUNT = sizeof KEYS / sizeof KEYS[0] };

int config_key_count(void)
{
    return KEY_COUNT;
}

const Key *config_key(int index)
{
    return &KEYS[index];
}

int config_key_find(const char *name)
{
    for (int i = 0; i < KEY_COUNT; i++)
        if (strcmp(KEYS[i].name, name) == 0) return i;
    return -1;
}

bool config_key_is_architecture(const Key *key)
{
    return key->group == ARCHITECTURE;
}

static const char *name_at(const void *context, int index)
{
    (void)context;
    return index < KEY_COUNT ? KEYS[index].name : NULL;
}

const char *config_key_nearest(const char *name)
{
    return suggest_name(name, name_at, NULL);
}
