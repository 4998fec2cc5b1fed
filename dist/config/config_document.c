#include "dist/config/config_document.h"

#include <string.h>

#include "core/base/memory.h"

/* A configuration is a mapping of scalars, lists and lists of lists. What libyaml does for a deeply nested or a long
 * document grows with the square of it, so the limits are checked on its events, before a document is built. */
enum { MAX_DEPTH = 8, MAX_NODES = 4096 };

static Status yaml_refuse(const yaml_parser_t *parser, const char *name, Error *error)
{
    const char *problem = parser->problem ? parser->problem : "out of memory";
    if (parser->error == YAML_READER_ERROR)
        return error_set(error, STATUS_USAGE, "%s: not valid YAML: %s at byte %zu", name, problem,
                         parser->problem_offset);
    return error_set(error, STATUS_USAGE, "%s:%zu: not valid YAML: %s%s%s", name, parser->problem_mark.line + 1,
                     problem, parser->context ? " " : "", parser->context ? parser->context : "");
}

/* What one event says; *depth and *nodes are the totals so far. */
static Status check_event(const yaml_event_t *event, const char *name, int *depth, int *nodes, Error *error)
{
    const size_t line = event->start_mark.line + 1;
    const bool begins = event->type == YAML_SEQUENCE_START_EVENT || event->type == YAML_MAPPING_START_EVENT;
    const bool ends = event->type == YAML_SEQUENCE_END_EVENT || event->type == YAML_MAPPING_END_EVENT;
    *depth += begins - ends;
    *nodes += begins || event->type == YAML_SCALAR_EVENT || event->type == YAML_ALIAS_EVENT;
    if (*depth > MAX_DEPTH)
        return error_set(error, STATUS_USAGE, "%s:%zu: nested more than %d deep; a key takes a value or a list", name,
                         line, MAX_DEPTH);
    if (*nodes > MAX_NODES)
        return error_set(error, STATUS_USAGE, "%s:%zu: more than %d keys and values", name, line, MAX_NODES);
    return STATUS_OK;
}

static Status check_limits(const char *text, size_t size, const char *name, Error *error)
{
    yaml_parser_t parser;
    int depth = 0, nodes = 0;
    Status status = STATUS_OK;
    if (size > CONFIG_LARGEST_TEXT)
        return error_set(error, STATUS_USAGE, "%s: %zu bytes; a configuration has at most %d", name, size,
                         CONFIG_LARGEST_TEXT);
    if (!yaml_parser_initialize(&parser)) return memory_failed(name, error);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, size);
    for (bool more = true; more && !status;) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event)) break; /* not YAML: reading it tells where and why */
        more = event.type != YAML_STREAM_END_EVENT;
        status = check_event(&event, name, &depth, &nodes, error);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    return status;
}

Status config_document_read(const char *text, size_t size, const char *name, yaml_document_t *document, Error *error)
{
    yaml_parser_t parser;
    yaml_document_t second;
    Status status = check_limits(text, size, name, error);
    if (status) return status;
    if (!yaml_parser_initialize(&parser)) return memory_failed(name, error);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, size);
    if (!yaml_parser_load(&parser, document)) {
        status = yaml_refuse(&parser, name, error);
        goto delete_parser;
    }
    if (!yaml_parser_load(&parser, &second)) {
        status = yaml_refuse(&parser, name, error);
    } else {
        if (yaml_document_get_root_node(&second))
            status = error_set(error, STATUS_USAGE, "%s:%zu: a second document begins here; one is expected", name,
                               second.start_mark.line + 1);
        yaml_document_delete(&second);
    }
    if (status) yaml_document_delete(document);
delete_parser:
    yaml_parser_delete(&parser);
    return status;
}

static Status take_scalar(const yaml_node_t *node, const char *where, ConfigValue *value, Error *error)
{
    const char *text = (const char *)node->data.scalar.value;
    if (value->count == CONFIG_VALUE_ITEMS)
        return error_set(error, STATUS_USAGE, "%s: a list of more than %d values", where, CONFIG_VALUE_ITEMS);
    if (strlen(text) != node->data.scalar.length) return error_set(error, STATUS_USAGE, "%s: a zero byte", where);
    value->items[value->count].text = text;
    value->items[value->count].quoted = node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    value->count++;
    return STATUS_OK;
}

static Status take_list(yaml_document_t *document, const yaml_node_t *list, int depth, const char *where,
                        ConfigValue *value, Error *error)
{
    if (depth > value->depth) value->depth = depth;
    if (depth > 2) return error_set(error, STATUS_USAGE, "%s: lists nested three deep", where);
    int scalars = 0, lists = 0, width = -1;
    for (yaml_node_item_t *item = list->data.sequence.items.start; item < list->data.sequence.items.top; item++) {
        const yaml_node_t *node = yaml_document_get_node(document, *item);
        int before = value->count;
        Status status;
        if (node->type == YAML_SCALAR_NODE) {
            scalars++;
            status = take_scalar(node, where, value, error);
        } else if (node->type == YAML_SEQUENCE_NODE) {
            lists++;
            status = take_list(document, node, depth + 1, where, value, error);
            if (!status && width >= 0 && value->count - before != width)
                status = error_set(error, STATUS_USAGE, "%s: lists of different lengths", where);
            width = value->count - before;
        } else {
            status = error_set(error, STATUS_USAGE, "%s: a mapping inside a list", where);
        }
        if (status) return status;
    }
    if (scalars && lists) return error_set(error, STATUS_USAGE, "%s: values and lists mixed in one list", where);
    if (lists) value->rows = lists;
    return STATUS_OK;
}

Status config_document_value(yaml_document_t *document, const yaml_node_t *node, const char *where, ConfigValue *value,
                             Error *error)
{
    *value = (ConfigValue){0};
    if (node->type == YAML_SCALAR_NODE) return take_scalar(node, where, value, error);
    if (node->type == YAML_SEQUENCE_NODE) return take_list(document, node, 1, where, value, error);
    return error_set(error, STATUS_USAGE, "%s: a mapping; keys are not nested here", where);
}
