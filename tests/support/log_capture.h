/* log_capture.h: a log whose stream is a file, in the test's temporary folder. */
#ifndef TESTS_SUPPORT_LOG_CAPTURE_H
#define TESTS_SUPPORT_LOG_CAPTURE_H

#include "dist/monitor/log.h"

typedef struct LogCapture {
    Log log;                     /* log_close is the test's */
    char stream[512], file[512]; /* where its stderr and its log.txt go */
} LogCapture;

/* With `columns` > 0 the log believes in a terminal of that width. */
void log_capture_open(LogCapture *capture, int rank, int columns);

char *text_read(const char *path); /* "" without a file; free() it */
int text_lines(const char *path);
bool text_holds(const char *path, const char *word);

#endif
