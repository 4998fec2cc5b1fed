/* Reading: files with their bases, and "key=value", one key after the other to config_assign. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/base/file.h"
#include "core/base/memory.h"
#include "dist/config/config_document.h"

enum { WHERE = 1200 };

static Status refuse_key(const char *name, const char *where, Error *error)
{
    const char *nearest = config_key_nearest(name);
    if (nearest)
        return error_set(error, STATUS_USAGE, "%s: unknown key '%s'; did you mean '%s'?", where, name, nearest);
    return error_set(error, STATUS_USAGE, "%s: unknown key '%s'; t2t train --help lists them all", where, name);
}

/* ---- where each key was last set, for the message of a check that comes later */

enum { MAX_FILES = 9 }; /* a file and the chain of its bases */

typedef struct Place {
    int file; /* 0: default; > 0: 1 + index in files; < 0: -(1 + index in sets) */
    int line;
} Place;

typedef struct Origins {
    const char *const *sets;
    char *files[MAX_FILES]; /* in the order of their opening; owned */
    int file_count;
    bool may_have_base; /* text that came from no file has none */
    Place *places;      /* per key */
} Origins;

static void origin_name(const Origins *origins, int key, char *where, size_t size)
{
    Place place = {0};
    if (key >= 0) place = origins->places[key];
    if (place.file > 0)
        snprintf(where, size, "%s:%d", origins->files[place.file - 1], place.line);
    else if (place.file < 0)
        snprintf(where, size, "--set %s", origins->sets[-place.file - 1]);
    else
        snprintf(where, size, "%s", origins->file_count > 0 ? origins->files[0] : "configuration");
}

static Status add_file(Origins *origins, const char *name, Error *error)
{
    char *copy = memory_copy_text(name ? name : "configuration", "a configuration's name", error);
    if (!copy) return STATUS_FAILED;
    origins->files[origins->file_count++] = copy;
    return STATUS_OK;
}

/* ---- a file */

static Status assign_pairs(Config *config, yaml_document_t *document, const yaml_node_t *root, bool model_pass,
                           const Origins *origins, Error *error)
{
    for (yaml_node_pair_t *pair = root->data.mapping.pairs.start; pair < root->data.mapping.pairs.top; pair++) {
        const yaml_node_t *name = yaml_document_get_node(document, pair->key);
        const yaml_node_t *node = yaml_document_get_node(document, pair->value);
        int key = config_key_find((const char *)name->data.scalar.value);
        if (key < 0 || (config_key(key)->kind == KEY_MODEL) != model_pass) continue; /* < 0: base */
        char where[WHERE];
        ConfigValue value;
        origin_name(origins, key, where, sizeof where);
        Status status = config_document_value(document, node, where, &value, error);
        if (!status) status = config_assign(config, config_key(key), &value, where, error);
        if (status) return status;
    }
    return STATUS_OK;
}

static bool is_base(const yaml_node_t *name)
{
    return name->type == YAML_SCALAR_NODE && strcmp((const char *)name->data.scalar.value, "base") == 0;
}

/* Every key must be known and stand once in a file; notes where it stands. */
static Status note_places(yaml_document_t *document, const yaml_node_t *root, int file, Origins *origins, Error *error)
{
    for (yaml_node_pair_t *pair = root->data.mapping.pairs.start; pair < root->data.mapping.pairs.top; pair++) {
        const yaml_node_t *name = yaml_document_get_node(document, pair->key);
        int line = (int)name->start_mark.line + 1;
        char where[WHERE];
        snprintf(where, sizeof where, "%s:%d", origins->files[file - 1], line);
        if (name->type != YAML_SCALAR_NODE)
            return error_set(error, STATUS_USAGE, "%s: a key that is not a word", where);
        if (is_base(name)) continue;
        const char *text = (const char *)name->data.scalar.value;
        int key = config_key_find(text);
        if (key < 0) return refuse_key(text, where, error);
        if (origins->places[key].file == file)
            return error_set(error, STATUS_USAGE, "%s: '%s' stands twice; first on line %d", where, text,
                             origins->places[key].line);
        origins->places[key] = (Place){file, line};
    }
    return STATUS_OK;
}

static Status load_base(Config *config, yaml_document_t *document, const yaml_node_t *root, Origins *origins,
                        Error *error);

/* The last of origins->files, after the file that it is based on. */
static Status load_text(Config *config, const char *text, size_t size, Origins *origins, Error *error)
{
    yaml_document_t document;
    const int file = origins->file_count;
    const char *path = origins->files[file - 1];
    Status status = config_document_read(text, size, path, &document, error);
    if (status) return status;
    const yaml_node_t *root = yaml_document_get_root_node(&document);
    if (!root) goto delete_document; /* nothing but comments: all defaults */
    if (root->type != YAML_MAPPING_NODE)
        status = error_set(error, STATUS_USAGE, "%s:%zu: expected `key: value` lines", path, root->start_mark.line + 1);
    if (!status) status = load_base(config, &document, root, origins, error);
    if (!status) status = note_places(&document, root, file, origins, error);
    if (!status) status = assign_pairs(config, &document, root, true, origins, error);
    if (!status) status = assign_pairs(config, &document, root, false, origins, error);
delete_document:
    yaml_document_delete(&document);
    return status;
}

/* ---- base: OTHER.yaml */

/* `base` as the file at `path` names it: relative to its folder. */
static void base_path(const char *path, const char *base, char *out, size_t size)
{
    const char *slash = base[0] == '/' ? NULL : strrchr(path, '/');
    snprintf(out, size, "%.*s%s", slash ? (int)(slash - path + 1) : 0, path, base);
}

static bool same_file(const char *a, const char *b)
{
    struct stat left, right;
    return stat(a, &left) == 0 && stat(b, &right) == 0 && left.st_dev == right.st_dev && left.st_ino == right.st_ino;
}

static Status read_base(Config *config, const char *path, const char *where, Origins *origins, Error *error)
{
    char *text = NULL;
    size_t size;
    Error problem = {0};
    for (int i = 0; i < origins->file_count; i++)
        if (same_file(origins->files[i], path))
            return error_set(error, STATUS_USAGE,
                             "%s: base: %s is what this file is for; expected one that does not lead back to it", where,
                             path);
    if (origins->file_count == MAX_FILES)
        return error_set(error, STATUS_USAGE, "%s: base: a chain of more than %d files", where, MAX_FILES);
    if (file_read(path, CONFIG_LARGEST_TEXT, &text, &size, &problem))
        return error_set(error, STATUS_USAGE,
                         "%s: base: %s; expected a configuration, by a path from the folder of this one", where,
                         problem.message);
    Status status = add_file(origins, path, error);
    if (!status) status = load_text(config, text, size, origins, error);
    free(text);
    return status;
}

static Status load_base(Config *config, yaml_document_t *document, const yaml_node_t *root, Origins *origins,
                        Error *error)
{
    const char *const path = origins->files[origins->file_count - 1];
    const yaml_node_t *base = NULL;
    char where[WHERE], other[PATH_MAX];
    for (yaml_node_pair_t *pair = root->data.mapping.pairs.start; pair < root->data.mapping.pairs.top; pair++) {
        const yaml_node_t *name = yaml_document_get_node(document, pair->key);
        if (!is_base(name)) continue;
        snprintf(where, sizeof where, "%s:%zu", path, name->start_mark.line + 1);
        if (base) return error_set(error, STATUS_USAGE, "%s: 'base' stands twice", where);
        base = yaml_document_get_node(document, pair->value);
    }
    if (!base) return STATUS_OK;
    if (base->type != YAML_SCALAR_NODE || base->data.scalar.length == 0)
        return error_set(error, STATUS_USAGE, "%s: base: expected the path of one configuration", where);
    if (!origins->may_have_base)
        return error_set(error, STATUS_USAGE, "%s: base: only a file can have one; here every key stands by itself",
                         where);
    base_path(path, (const char *)base->data.scalar.value, other, sizeof other);
    return read_base(config, other, where, origins, error);
}

/* ---- key=value */

static Status split_assignment(const char *assignment, int *key, const char **text, Error *error)
{
    char name[128], where[WHERE];
    const char *equals = strchr(assignment, '=');
    snprintf(where, sizeof where, "--set %.200s", assignment);
    if (!equals) return error_set(error, STATUS_USAGE, "%s: expected key=value", where);
    snprintf(name, sizeof name, "%.*s", (int)(equals - assignment), assignment);
    *key = config_key_find(name);
    *text = equals + 1;
    return *key < 0 ? refuse_key(name, where, error) : STATUS_OK;
}

Status config_set(Config *config, const char *assignment, Error *error)
{
    int key;
    const char *text;
    char where[WHERE];
    Status status = split_assignment(assignment, &key, &text, error);
    if (status) return status;
    snprintf(where, sizeof where, "--set %s", assignment);
    ConfigValue value = {.count = 1, .items = {{.text = text}}};
    /* Texts are taken as they are, so that no path needs YAML's quotes on top of the shell's. */
    if (config_key(key)->kind == KEY_TEXT) return config_assign(config, config_key(key), &value, where, error);

    yaml_document_t document;
    status = config_document_read(text, strlen(text), where, &document, error);
    if (status) return status;
    const yaml_node_t *root = yaml_document_get_root_node(&document);
    if (root) status = config_document_value(&document, root, where, &value, error);
    if (!status) status = config_assign(config, config_key(key), &value, where, error);
    yaml_document_delete(&document);
    return status;
}

static Status apply_sets(Config *config, int set_count, bool model_pass, Origins *origins, Error *error)
{
    for (int i = 0; i < set_count; i++) {
        int key;
        const char *text;
        Status status = split_assignment(origins->sets[i], &key, &text, error);
        if (status) return status;
        if ((config_key(key)->kind == KEY_MODEL) != model_pass) continue;
        status = config_set(config, origins->sets[i], error);
        if (status) return status;
        origins->places[key] = (Place){.file = -(1 + i)};
    }
    return STATUS_OK;
}

/* config_check's messages begin with the key; here the place where it was set goes in front. */
static Status check_with_origin(const Config *config, const Origins *origins, Error *error)
{
    Error problem = {0};
    Status status = config_check(config, &problem);
    if (!status) return STATUS_OK;
    char name[128], where[WHERE];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(problem.message, ":"), problem.message);
    origin_name(origins, config_key_find(name), where, sizeof where);
    return error_set(error, status, "%s: %s", where, problem.message);
}

static Status parse(Config *config, const char *text, const char *name, bool may_have_base, const char *const *sets,
                    int set_count, Error *error)
{
    Status status = STATUS_OK;
    Origins origins = {.sets = sets,
                       .may_have_base = may_have_base,
                       .places = memory_alloc(config_key_count(), sizeof *origins.places, "a configuration", error)};
    if (!origins.places) return STATUS_FAILED;
    config_defaults(config);
    if (text) status = add_file(&origins, name, error);
    if (text && !status) status = load_text(config, text, strlen(text), &origins, error);
    if (!status) status = apply_sets(config, set_count, true, &origins, error);
    if (!status) status = apply_sets(config, set_count, false, &origins, error);
    if (!status) status = check_with_origin(config, &origins, error);
    for (int i = 0; i < origins.file_count; i++) free(origins.files[i]);
    free(origins.places);
    return status;
}

Status config_parse(Config *config, const char *text, const char *name, const char *const *sets, int set_count,
                    Error *error)
{
    return parse(config, text, name, false, sets, set_count, error);
}

Status config_load(Config *config, const char *path, const char *const *sets, int set_count, Error *error)
{
    char *text = NULL;
    size_t size;
    if (path && file_read(path, CONFIG_LARGEST_TEXT, &text, &size, error)) {
        error->status = STATUS_USAGE; /* a configuration that is not there is wrong usage, not bad data */
        return STATUS_USAGE;
    }
    Status status = parse(config, text, path, true, sets, set_count, error);
    free(text);
    return status;
}
