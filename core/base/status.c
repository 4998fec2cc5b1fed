#include "core/base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

Status error_set(Error *error, Status status, const char *format, ...)
{
    if (error->status != STATUS_OK) return error->status;
    error->status = status;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error->message, sizeof error->message, format, arguments);
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
        vsnprintf(error->message + used, sizeof error->message - used, format, arguments);
        va_end(arguments);
    }
    return error->status;
}
