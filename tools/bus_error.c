#include "tools/bus_error.h"

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "core/base/status.h"

/* Everything here runs in a signal handler: system calls and plain loops, no stdio, no malloc. */

typedef struct LineReader {
    int fd;
    size_t at, used;
    char buffer[4096];
} LineReader;

/* The next line, cut to `size`; false at the end. */
static bool next_line(LineReader *reader, char *line, size_t size)
{
    for (size_t length = 0;;) {
        if (reader->at == reader->used) {
            ssize_t got = read(reader->fd, reader->buffer, sizeof reader->buffer);
            if (got <= 0) return false;
            reader->at = 0;
            reader->used = (size_t)got;
        }
        char byte = reader->buffer[reader->at++];
        if (byte == '\n') {
            line[length] = 0;
            return true;
        }
        if (length + 1 < size) line[length++] = byte;
    }
}

static uintptr_t parse_hex(const char **text)
{
    uintptr_t value = 0;
    for (;; ++*text) {
        char c = **text;
        if (c >= '0' && c <= '9')
            value = value << 4 | (uintptr_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            value = value << 4 | (uintptr_t)(c - 'a' + 10);
        else
            return value;
    }
}

/* The file that is mapped at `address`, as /proc/self/maps tells it: "begin-end flags offset device inode   path", with
 * line ends in the path escaped by the kernel. NULL: none. */
static const char *find_file(uintptr_t address, char *line, size_t size)
{
    LineReader reader = {.fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC)};
    const char *path = NULL;
    while (reader.fd >= 0 && !path && next_line(&reader, line, size)) {
        const char *text = line;
        uintptr_t begin = parse_hex(&text);
        if (*text++ != '-') continue;
        uintptr_t end = parse_hex(&text);
        if (address < begin || address >= end) continue;
        path = strchr(text, '/');
        break;
    }
    if (reader.fd >= 0) close(reader.fd);
    return path;
}

static void say(const char *text)
{
    if (write(STDERR_FILENO, text, strlen(text)) < 0) return;
}

static void say_path(char *path)
{
    for (char *byte = path; *byte; byte++)
        if ((unsigned char)*byte < ' ' || *byte == 0x7f) *byte = '?'; /* nothing that a terminal obeys */
    say(path);
}

static void handle(int signal_number, siginfo_t *info, void *context)
{
    char line[8192];
    (void)context;
    const char *path = find_file((uintptr_t)info->si_addr, line, sizeof line);
    if (!path) { /* back to the instruction, which now meets the system's default */
        signal(signal_number, SIG_DFL);
        return;
    }
    say("t2t: ");
    say_path(line + (path - line));
    say(": cannot be read where it is mapped: the file was cut short while it was in use, or its disk fails\n"
        "  hint: copy it again, and do not write to a data set that is being read; `t2t verify` checks one\n");
    _exit(STATUS_DATA);
}

void bus_error_explain(void)
{
    struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO};
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, NULL);
}
