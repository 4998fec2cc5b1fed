#include "dist/monitor/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/base/printable.h"

enum { LINE = 4096 };

static bool is_pipe(int fd)
{
    struct stat status;
    return fstat(fd, &status) == 0 && (S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode));
}

/* mpirun gives its children a pipe for stderr, whatever its own is; so under a launcher the parent's is looked at. */
static int find_terminal(int stream)
{
    const char *term = getenv("TERM");
    if (!term || strcmp(term, "dumb") == 0) return -1;
    if (isatty(stream)) return dup(stream);
    if (!is_pipe(stream) || (!getenv("OMPI_COMM_WORLD_RANK") && !getenv("PMI_RANK"))) return -1;
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd/2", (int)getppid());
    int fd = open(path, O_WRONLY | O_NOCTTY | O_CLOEXEC);
    if (fd >= 0 && isatty(fd)) return fd;
    if (fd >= 0) close(fd);
    return -1;
}

Status log_open(Log *log, int rank, LogLevel level, Error *error)
{
    *log = (Log){.rank = rank, .level = level, .stream = STDERR_FILENO, .terminal = -1, .file = -1};
    if (rank == 0) log->terminal = find_terminal(log->stream);
    int problem = pthread_mutex_init(&log->mutex, NULL);
    if (problem) return error_set(error, STATUS_FAILED, "cannot make a lock: %s", strerror(problem));
    return STATUS_OK;
}

void log_close(Log *log)
{
    log_status(log, "");
    if (log->terminal >= 0) close(log->terminal);
    if (log->file >= 0) close(log->file);
    log->terminal = log->file = -1;
    pthread_mutex_destroy(&log->mutex);
}

static int open_file(const char *path)
{
    return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
}

Status log_file(Log *log, const char *path, Error *error)
{
    snprintf(log->path, sizeof log->path, "%s", path);
    if (log->rank != 0) return STATUS_OK;
    log->file = open_file(path);
    if (log->file >= 0) return STATUS_OK;
    return error_set(error, STATUS_FAILED, "%s: cannot open: %s", path, strerror(errno));
}

/* A message that cannot be written has nowhere to be reported, so failure is let pass. */
static void write_all(int fd, const char *text, size_t size)
{
    while (size > 0) {
        ssize_t written = write(fd, text, size);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return;
        text += written;
        size -= (size_t)written;
    }
}

/* ---- the status line */

static void erase_status(Log *log)
{
    if (log->terminal >= 0 && log->status[0]) write_all(log->stream, "\r\033[K", 4);
}

/* Characters, not bytes, fill a line: continuation bytes of UTF-8 take no column. */
static size_t bytes_of_columns(const char *text, int columns)
{
    size_t at = 0;
    while (text[at] && columns > 0) {
        at++;
        while (((unsigned char)text[at] & 0xc0) == 0x80) at++;
        columns--;
    }
    return at;
}

int log_columns(const Log *log)
{
    struct winsize window = {0};
    if (log->terminal < 0) return 0;
    bool known = ioctl(log->terminal, TIOCGWINSZ, &window) == 0 && window.ws_col > 1;
    return known ? window.ws_col - 1 : 79; /* a full line would wrap on some terminals */
}

static void draw_status(Log *log)
{
    if (log->terminal < 0 || !log->status[0]) return;
    char line[sizeof log->status + 8];
    size_t bytes = bytes_of_columns(log->status, log_columns(log));
    int size = snprintf(line, sizeof line, "\r%.*s\033[K", (int)bytes, log->status);
    write_all(log->stream, line, (size_t)size);
}

void log_status(Log *log, const char *text)
{
    if (log->terminal < 0) return;
    pthread_mutex_lock(&log->mutex);
    if (!text[0]) erase_status(log);
    snprintf(log->status, sizeof log->status, "%s", text);
    draw_status(log);
    pthread_mutex_unlock(&log->mutex);
}

/* ---- lines */

static void append_line(Log *log, LogLevel level, const char *message, const char *when)
{
    static const char *const NAMES[] = {"error", "warning", "info", "debug"};
    if (log->file < 0 && log->path[0]) log->file = open_file(log->path);
    if (log->file < 0) return;
    char line[LINE + 64];
    int size = snprintf(line, sizeof line, "%s %s %s\n", when, NAMES[level], message);
    write_all(log->file, line, (size_t)size);
}

static void print_line(Log *log, LogLevel level, const char *message, const char *time_of_day)
{
    char line[LINE + 64];
    const char *tag = level == LOG_ERROR ? "error: " : level == LOG_WARNING ? "warning: " : "";
    int size = snprintf(line, sizeof line, "%s %s%s\n", time_of_day, tag, message);
    erase_status(log);
    write_all(log->stream, line, (size_t)size);
    draw_status(log);
}

static void write_line(Log *log, LogLevel level, bool to_stream, const char *message)
{
    struct tm now;
    time_t seconds = time(NULL);
    char when[32];
    localtime_r(&seconds, &now);
    strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &now);
    pthread_mutex_lock(&log->mutex);
    if (to_stream) print_line(log, level, message, when + 11);
    append_line(log, level, message, when);
    pthread_mutex_unlock(&log->mutex);
}

void log_write(Log *log, LogLevel level, const char *format, ...)
{
    char message[LINE], shown[LINE];
    if (level > log->level || (log->rank != 0 && level > LOG_WARNING)) return;
    int used = log->rank != 0 ? snprintf(message, sizeof message, "rank %d: ", log->rank) : 0;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message + used, sizeof message - (size_t)used, format, arguments);
    va_end(arguments);
    write_line(log, level, true,
               printable_lines(shown, sizeof shown, message)); /* names may be commands to a terminal */
}

void log_progress(Log *log, const char *line)
{
    if (log->rank == 0 && log->level >= LOG_INFO) write_line(log, LOG_INFO, log->terminal < 0, line);
}

void log_note(Log *log, const char *line)
{
    if (log->rank == 0 && log->level >= LOG_INFO) write_line(log, LOG_INFO, false, line);
}
