/* settings.h: which configuration a command works with: --config FILE, --set key=value and --model NAME together.
 *
 * What is given stays the caller's; it must live as long as the settings, as argv does.
 */
#ifndef TOOLS_SETTINGS_H
#define TOOLS_SETTINGS_H

#include "dist/config/config.h"

enum { MAX_SETS = 256 };

typedef struct Settings { /* a zeroed one: the defaults; not to be copied once it holds a --model */
    const char *config;   /* a file, or NULL */
    const char *sets[MAX_SETS];
    int count;
    char model[128]; /* "model=NAME", for --model */
} Settings;

Status settings_set(Settings *settings, const char *assignment, Error *error); /* --set key=value */
Status settings_model(Settings *settings, const char *name, Error *error);     /* --model NAME; the last one counts */
Status settings_load(const Settings *settings, Config *config, Error *error);  /* config_load of them */

#endif
