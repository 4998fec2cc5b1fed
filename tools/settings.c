#include "tools/settings.h"

#include <stdio.h>

Status settings_set(Settings *settings, const char *set, Error *error)
{
    if (settings->count == MAX_SETS)
        return error_set(error, STATUS_USAGE, "more than %d settings: put them into a file", MAX_SETS);
    settings->sets[settings->count++] = set;
    return STATUS_OK;
}

Status settings_model(Settings *settings, const char *value, Error *error)
{
    const bool first = !settings->model[0];
    int length = snprintf(settings->model, sizeof settings->model, "model=%s", value);
    if (length >= (int)sizeof settings->model)
        return error_set(error, STATUS_USAGE, "--model %s: no model has so long a name", value);
    return first ? settings_set(settings, settings->model, error) : STATUS_OK;
}

Status settings_load(const Settings *settings, Config *config, Error *error)
{
    return config_load(config, settings->config, settings->sets, settings->count, error);
}
