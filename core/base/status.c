#include "core/base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/base/printable.h"

/* Messages name files, classes and tensors, which come from outside. */
static void write_message(char *out, size_t size, const char *format, va_list arguments)
{
    char raw[sizeof(((Error *)0)->message)];
    vsnprintf(raw, sizeof raw, format, arguments);
    printable_lines(out, size, raw);
}

Status error_set(Error *error, Status status, const char *format, ...)
{
    if (error->status != STATUS_OK) return error->status;
    error->status = status;
    va_list arguments;
    va_start(arguments, format);
    write_message(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
    return status;
}

Status error_add(Error *error, const char *format, ...)
{
    size_t used = strlen(error->message);
    if (used + 2 < sizeof error->message) {
        error->message[used++] = '\n';
        va_list arguments;
        va_start(arguments, format);
        write_message(error->message + used, sizeof error->message - used, format, arguments);
        va_end(arguments);
    }
    return error->status;
}
