/* status.h: how failure travels.
 *
 * A function that can fail returns a Status and takes an `Error *` as its last parameter. The first to detect
 * a failure writes the message with error_set(); callers release what they hold and pass the Status on,
 * adding a line of context with error_add() where it helps. Only tools/ turns a Status into an exit status.
 *
 *     Status shard_open(Shard *shard, const char *path, Error *error)
 *     {
 *         int fd = open(path, O_RDONLY);
 *         if (fd < 0) return error_set(error, STATUS_DATA, "%s: cannot open: %s", path, strerror(errno));
 *         ...
 *
 * A good message says what, where (file, offset, line), expected, found, and what to do:
 *     "data/train-003.mdb: size 1048576, but manifest.json says 2097152; the copy is incomplete: copy it again"
 */
#ifndef CORE_BASE_STATUS_H
#define CORE_BASE_STATUS_H

typedef enum Status {
    STATUS_OK = 0,
    STATUS_FAILED = 1,   /* failed while running */
    STATUS_USAGE = 2,    /* wrong command line or configuration */
    STATUS_DATA = 3,     /* bad or missing data */
    STATUS_STOPPED = 75, /* stopped by a signal after a checkpoint: submit again (EX_TEMPFAIL of sysexits.h) */
} Status;                /* the values are the process's exit statuses */

/* Owned by the caller, usually on the stack of main: `Error error = {0};` */
typedef struct Error {
    Status status;
    char message[2048];
} Error;

/* Writes the message and returns `status`. A message that is already there is kept: the first detector knows best.
 * Control characters in it, as a file's name may have them, become \xNN (printable.h). */
Status error_set(Error *error, Status status, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Appends a line ("  while ..." or "  hint: ...") to the message and returns the status already set. */
Status error_add(Error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
