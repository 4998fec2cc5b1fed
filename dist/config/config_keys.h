/* config_keys.h: the table of configuration keys, shared by the config*.c files and by run_folder.c.
 *
 * The table is the only list of keys: reading, --set, checking, saving, comparing and the list of `t2t train --help`
 * walk over it. To add a key: a field in Config, its default in config_defaults, a row here. To add a kind: a name
 * below and a row in the table of config_kinds.c.
 */
#ifndef DIST_CONFIG_CONFIG_KEYS_H
#define DIST_CONFIG_CONFIG_KEYS_H

#include <stddef.h>
#include "dist/config/config.h"

typedef enum KeyKind {
    KEY_BOOL,
    KEY_INT,
    KEY_INT64,
    KEY_UINT64,
    KEY_REAL,
    KEY_REALS,      /* a list of exactly `size` numbers */
    KEY_TEXT,       /* a char array for `size` bytes and a zero */
    KEY_TEXTS,      /* a TextList */
    KEY_CHOICE,     /* an enum; its names in order */
    KEY_DURATION,   /* a double in seconds */
    KEY_CHECKPOINT, /* checkpoint_every and its unit */
    KEY_MODEL,      /* a name of the zoo; fills the architecture */
    KEY_SPLITS,     /* kernel, stride, padding of each soft split */
    KEY_BLOCKS,     /* blocks per group of the dense model */
} KeyKind;

typedef struct KeyRange {
    double min, max;
    bool above_min, below_max; /* the bound itself is not allowed */
} KeyRange;

typedef struct Key {
    const char *group;
    const char *name;
    KeyKind kind;
    size_t offset;  /* in Config */
    size_t size;    /* of texts and lists, and of a list's texts: the most they hold */
    KeyRange range; /* of numbers */
    const char *const *choices;
    bool may_change; /* a resumed run may have another value: the result stays the same up to rounding */
    const char *meaning;
} Key;

#define KEY_UNBOUNDED 1e300

enum { CONFIG_VALUE_ITEMS = CONFIG_LIST, CONFIG_TEXT = 1100 };

/* What stands behind a key: a scalar (depth 0), a list (1), or a list of equally long lists (2), flattened. */
typedef struct ConfigValue {
    int depth;
    int rows;  /* depth 2 */
    int count; /* scalars in all */
    struct {
        const char *text;
        bool quoted; /* then it is no number and no truth value */
    } items[CONFIG_VALUE_ITEMS];
} ConfigValue;

int config_key_count(void);
const Key *config_key(int index);
int config_key_find(const char *name);            /* -1 when there is none */
const char *config_key_nearest(const char *name); /* NULL when nothing comes near */

bool config_key_is_architecture(const Key *key); /* one of those that `model` sets */

/* Sets one key, checking type and range; `where` ("FILE:LINE", "--set lr=1") opens the message. */
Status config_assign(Config *config, const Key *key, const ConfigValue *value, const char *where, Error *error);

/* The value as it would stand in a YAML file; 2 * CONFIG_TEXT bytes are enough for any. */
void config_format(const Config *config, const Key *key, char *text, size_t size);

/* What a key takes, in words: "a number more than 0". */
void config_expected(const Key *key, char *text, size_t size);

/* Fields of Config that only mirror others: the loader's image size, the optimizer's EMA decay. */
void config_resolve(Config *config);

#endif
