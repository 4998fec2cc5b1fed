/* path.h: names of files put together, never cut short.
 *
 *     char path[PATH_SIZE];
 *     Status status = path_join(path, sizeof path, folder, "manifest.json", error);
 */
#ifndef CORE_BASE_PATH_H
#define CORE_BASE_PATH_H

#include <stddef.h>
#include "core/base/status.h"

enum { PATH_SIZE = 4096 }; /* bytes of a path with its zero, as Linux limits them */

/* FOLDER/name into `path`, which is empty when the result does not fit: STATUS_USAGE says how long it would be. A folder
 * that ends with a slash gets no second one, and an empty one none at all. */
Status path_join(char *path, size_t size, const char *folder, const char *name, Error *error);

/* The folder that holds `of`: "." for a bare name, "/" for a file of the root. */
Status path_parent(char *path, size_t size, const char *of, Error *error);

#endif
