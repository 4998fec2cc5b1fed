/* options.h: what the options of several sub-commands have in common: numbers, and which settings.
 *
 *     case 'b': status = option_int("batch", optarg, 1, 65536, &arguments->batch, error); break;
 *     case 's': status = settings_option(&arguments->settings, option, optarg, error); break;
 *     ...
 *     status = settings_load(&arguments.settings, &config, error);
 *
 * What is given stays the caller's; it must live as long as the settings, as argv does.
 */
#ifndef TOOLS_OPTIONS_H
#define TOOLS_OPTIONS_H

#include "dist/config/config.h"

/* The whole number in `text`, which stands behind --NAME: STATUS_USAGE unless it is all of it and from least to
 * most. */
Status option_number(const char *name, const char *text, int64_t least, int64_t most, int64_t *value, Error *error);
Status option_int(const char *name, const char *text, int least, int most, int *value, Error *error);

enum { MAX_SETS = 256 };

typedef struct Settings { /* a zeroed one: the defaults; not to be copied once it holds a --model */
    const char *config;   /* a file, or NULL */
    const char *sets[MAX_SETS];
    int count;
    char model[128]; /* "model=NAME", for --model */
} Settings;

Status settings_set(Settings *settings, const char *assignment, Error *error); /* --set key=value */
Status settings_model(Settings *settings, const char *name, Error *error);     /* --model NAME; the last one counts */
/* One of 'c' (--config FILE), 's' (--set key=value) and 'm' (--model NAME); others are ignored. */
Status settings_option(Settings *settings, int option, const char *value, Error *error);
Status settings_load(const Settings *settings, Config *config, Error *error); /* config_load of them */

#endif
