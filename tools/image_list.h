/* image_list.h: which images a command is to look at: files, folders, lists of files. */
#ifndef TOOLS_IMAGE_LIST_H
#define TOOLS_IMAGE_LIST_H

#include <stdbool.h>
#include "core/base/status.h"

typedef struct ImageList { /* a zeroed one is empty */
    char **paths;
    int count, capacity;
} ImageList;

/* A folder: the files below it, at any depth, whose names end as those of JPEG and PNG images do, sorted by name; names
 * that begin with a dot are left out. Anything else is taken as a file, whether it is there or not. */
Status image_list_add(ImageList *list, const char *path, Error *error);

/* A path a line, as add takes them; "-": standard input. Empty lines are passed over. */
Status image_list_read(ImageList *list, const char *file, Error *error);

void image_list_free(ImageList *list);

#endif
