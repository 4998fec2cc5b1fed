#include "tools/options.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

Status option_number(const char *name, const char *text, int64_t least, int64_t most, int64_t *value, Error *error)
{
    char *end;
    long long number = strtoll(text, &end, 10); /* beyond its range: the range's end, which is refused */
    if (end == text || *end || number < least || number > most)
        return error_set(error, STATUS_USAGE, "--%s %s: a whole number from %" PRId64 " to %" PRId64 " is wanted", name,
                         text, least, most);
    *value = number;
    return STATUS_OK;
}

Status option_int(const char *name, const char *text, int least, int most, int *value, Error *error)
{
    int64_t number = 0;
    Status status = option_number(name, text, least, most, &number, error);
    if (!status) *value = (int)number;
    return status;
}

Status settings_set(Settings *settings, const char *set, Error *error)
{
    if (settings->count == MAX_SETS)
        return error_set(error, STATUS_USAGE, "more than %d settings: put them into a file", MAX_SETS);
    settings->sets[settings->count++] = set;
    return STATUS_OK;
}

Status settings_option(Settings *settings, int option, const char *value, Error *error)
{
    if (option == 'c') settings->config = value;
    if (option == 's') return settings_set(settings, value, error);
    return option == 'm' ? settings_model(settings, value, error) : STATUS_OK;
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
