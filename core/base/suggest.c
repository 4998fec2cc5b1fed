#include "core/base/suggest.h"

#include <ctype.h>
#include <stddef.h>
#include <string.h>

enum { MAX_NAME = 64 };

/* Levenshtein's distance, one row at a time. */
static int distance(const char *a, const char *b)
{
    int row[MAX_NAME + 1], length = (int)strnlen(b, MAX_NAME);
    for (int j = 0; j <= length; j++) row[j] = j;
    for (int i = 0; i < MAX_NAME && a[i]; i++) {
        int diagonal = row[0];
        row[0] = i + 1;
        for (int j = 0; j < length; j++) {
            int best = diagonal + (tolower((unsigned char)a[i]) != tolower((unsigned char)b[j]));
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j + 1] + 1 < best) best = row[j + 1] + 1;
            diagonal = row[j + 1];
            row[j + 1] = best;
        }
    }
    return row[length];
}

const char *suggest_name(const char *wanted, NameAt name_at, const void *context)
{
    const char *nearest = NULL;
    int least = 0;
    for (int i = 0;; i++) {
        const char *name = name_at(context, i);
        if (!name) return nearest;
        int cost = distance(wanted, name);
        /* A name of which less than half is right would only mislead. */
        if (cost * 2 > (int)strlen(name)) continue;
        if (!nearest || cost < least) {
            nearest = name;
            least = cost;
        }
    }
}
