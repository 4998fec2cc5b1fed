/* log.h: what a person reads: stderr, and log.txt of the run folder.
 *
 * Rank 0 says what happens; any rank may warn, and then its number stands in the line. Levels are told apart by volume:
 *     LOG_ERROR    at most once in a process: the end of it
 *     LOG_WARNING  rarely, and something should be done about it
 *     LOG_INFO     a screenful at the start, then a few lines per epoch and one per log_interval
 *     LOG_DEBUG    up to a few lines per step
 * Messages are lowercase, on one line, with values that a double click selects (a blank on each side).
 *
 * When the launcher's stderr is a terminal, the last line there is a status line that log_status rewrites in place and
 * log_write steps round. A Log may be used by several threads. It is passed around; there is no global one.
 *
 *     Log log;
 *     log_open(&log, rank, LOG_INFO, error);
 *     log_file(&log, "RUN/log.txt", error);
 *     log_write(&log, LOG_INFO, "model %s, %" PRId64 " parameters", name, count);
 *     log_close(&log);
 */
#ifndef DIST_MONITOR_LOG_H
#define DIST_MONITOR_LOG_H

#include <pthread.h>
#include <stdbool.h>
#include "core/base/status.h"

typedef enum LogLevel { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG } LogLevel;

typedef struct Log {
    pthread_mutex_t mutex;
    int rank;
    LogLevel level; /* and everything louder is written */
    int stream;     /* a file descriptor: stderr, or what a test puts in its place */
    int terminal;   /* the terminal that `stream` leads to; -1: none */
    int file;       /* -1: none yet */
    char path[1024];
    char status[512]; /* what the status line shows */
} Log;

Status log_open(Log *log, int rank, LogLevel level, Error *error);
void log_close(Log *log);

/* From here on lines also go to `path`, with date and level. Ranks other than 0 open it at their first line; each line
 * is one append. */
Status log_file(Log *log, const char *path, Error *error);

/* Ranks other than 0 write warnings and errors only, so it may be called everywhere alike. */
void log_write(Log *log, LogLevel level, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* A line of rank 0's for log.txt alone: what a screen need not show. */
void log_note(Log *log, const char *line);

/* A line of progress: on a terminal only log.txt gets it, for there the status line shows the same. Rank 0 only. */
void log_progress(Log *log, const char *line);

/* Rewrites the status line, cut to the terminal's width; "" removes it. Nothing without a terminal. */
void log_status(Log *log, const char *line);
int log_columns(const Log *log); /* of the status line; 0: there is none */

#endif
