/* record_file.h: a record at the end of a file, whole or not at all. */
#ifndef DIST_MONITOR_RECORD_FILE_H
#define DIST_MONITOR_RECORD_FILE_H

#include <stddef.h>
#include "core/base/status.h"

/* Opens (and makes) `path` for appending. */
Status record_file_open(int *fd, const char *path, Error *error);

/* On failure (a full disk) what was written of the record is taken back, so that the next one starts cleanly. `what`
 * names the file in the message. */
Status record_file_append(int fd, const void *bytes, size_t size, const char *what, Error *error);

#endif
