#include "tests/support/log_capture.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "core/base/file.h"
#include "tests/support/command.h"

void log_capture_open(LogCapture *capture, int rank, int columns)
{
    Log *log = &capture->log;
    Error error = {0};
    snprintf(capture->stream, sizeof capture->stream, "%s/stderr", temporary_folder());
    snprintf(capture->file, sizeof capture->file, "%s/log.txt", temporary_folder());
    cr_assert_eq(log_open(log, rank, LOG_INFO, &error), STATUS_OK);
    if (log->terminal >= 0) close(log->terminal);
    log->stream = open(capture->stream, O_WRONLY | O_CREAT | O_APPEND, 0600);
    log->terminal = -1;
    if (columns > 0) {
        struct winsize size = {.ws_row = 24, .ws_col = (unsigned short)columns};
        log->terminal = posix_openpt(O_RDWR | O_NOCTTY);
        cr_assert_geq(log->terminal, 0);
        cr_assert_eq(ioctl(log->terminal, TIOCSWINSZ, &size), 0);
    }
    cr_assert_eq(log_file(log, capture->file, &error), STATUS_OK, "%s", error.message);
}

char *text_read(const char *path)
{
    char *text;
    size_t size;
    Error error = {0};
    if (!file_exists(path)) return strdup("");
    cr_assert_eq(file_read(path, 1 << 20, &text, &size, &error), STATUS_OK, "%s", error.message);
    return text;
}

int text_lines(const char *path)
{
    char *text = text_read(path);
    int lines = 0;
    for (char *at = text; *at; at++) lines += *at == '\n';
    free(text);
    return lines;
}

bool text_holds(const char *path, const char *word)
{
    char *text = text_read(path);
    bool found = strstr(text, word) != NULL;
    free(text);
    return found;
}
