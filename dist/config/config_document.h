/* config_document.h: one YAML document, within limits on its size, depth and number of values, and the values in it. */
#ifndef DIST_CONFIG_CONFIG_DOCUMENT_H
#define DIST_CONFIG_CONFIG_DOCUMENT_H

#include <yaml.h>

#include "dist/config/config_keys.h"

enum { CONFIG_LARGEST_TEXT = 64 << 10 };

/* Loads the only document of `text`; on success yaml_document_delete is the caller's. `name` opens messages. */
Status config_document_read(const char *text, size_t size, const char *name, yaml_document_t *document, Error *error);

/* A scalar, a list or a list of lists; its texts are the document's. */
Status config_document_value(yaml_document_t *document, const yaml_node_t *node, const char *where, ConfigValue *value,
                             Error *error);

#endif
