#include "dist/comm/same_text.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/memory.h"

enum { LINE = 200 }; /* characters of a line that are shown */

typedef struct First { /* what rank 0 has */
    int64_t length;
    char host[MPI_MAX_PROCESSOR_NAME];
} First;

static int line_length(const char *line)
{
    size_t length = strcspn(line, "\n");
    return length < LINE ? (int)length : LINE;
}

static Status compare(const World *world, const char *what, const char *text, const First *first, const char *theirs,
                      Status kind, const char *hint, Error *error)
{
    size_t same = 0, start = 0;
    int line = 1;
    for (; text[same] && text[same] == theirs[same]; same++) {
        if (text[same] != '\n') continue;
        start = same + 1;
        line++;
    }
    if (text[same] == theirs[same]) return STATUS_OK;
    const char *own = text + start, *other = theirs + start;
    return error_set(error, kind,
                     "rank %d on %s has other %s than rank 0 on %s, first in line %d:\n  %.*s\n  %.*s   on rank 0\n"
                     "  hint: %s",
                     world->rank, world->host, what, first->host, line, line_length(own), own, line_length(other),
                     other, hint);
}

Status world_same_text(const World *world, const char *what, const char *text, Status kind, const char *hint,
                       Error *error)
{
    First first = {.length = (int64_t)strlen(text)};
    memcpy(first.host, world->host, sizeof first.host);
    int code = MPI_Bcast(&first, (int)sizeof first, MPI_BYTE, 0, world->comm);
    if (code != MPI_SUCCESS) return world_mpi_failed(code, "comparing what the ranks were given", error);
    char *theirs = memory_alloc(first.length + 1, 1, "what rank 0 was given", error);
    Status status = world_agree(world->comm, theirs ? STATUS_OK : STATUS_FAILED, error);
    if (status) goto release;
    memcpy(theirs, text, world->rank == 0 ? (size_t)first.length + 1 : 0);
    code = MPI_Bcast(theirs, (int)first.length, MPI_CHAR, 0, world->comm);
    theirs[first.length] = 0;
    if (code == MPI_SUCCESS)
        status = compare(world, what, text, &first, theirs, kind, hint, error);
    else
        status = world_mpi_failed(code, "comparing what the ranks were given", error);
    status = world_agree(world->comm, status, error);
release:
    free(theirs);
    return status;
}
