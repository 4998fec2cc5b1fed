#include "tools/layer_names.h"

#include <stdio.h>
#include <string.h>

void layer_names_add(LayerNames *names, const char *name)
{
    for (int i = 0; i < names->count; i++)
        if (strcmp(names->items[i], name) == 0) return;
    if (names->count < MAX_LAYER_NAMES) snprintf(names->items[names->count++], LAYER_NAME, "%s", name);
}

Status layer_names_none(const LayerNames *names, const ModelConfig *config, const char *pattern, Error *error)
{
    error_set(error, STATUS_USAGE, "no layer of %s matches '%s'; it has", config->name, pattern);
    for (int i = 0; i < names->count; i++)
        if (strncmp(names->items[i], "blocks.", 7) != 0 || strncmp(names->items[i], "blocks.0", 8) == 0)
            error_add(error, "  %s", names->items[i]);
    return error_add(error, "  and so on, to blocks.%d", zoo_blocks(config) - 1);
}
