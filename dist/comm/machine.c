#include "dist/comm/machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/memory.h"
#include "core/base/processor.h"

typedef struct Node { /* what a rank tells of where it is */
    char host[256], processor[128];
    int index, threads;
} Node;

/* The first line of what the library says of itself, without what only its developers read. */
static void mpi_name(char *text, size_t size)
{
    char version[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int length;
    MPI_Get_library_version(version, &length);
    version[strcspn(version, ",\n")] = 0;
    for (char *at = version; *at; at++)
        if (*at == '\t') *at = ' ';
    snprintf(text, size, "%s", version);
}

/* Appends unless there is no room for it and for what may have to follow. */
static bool append(char *text, size_t size, const char *word)
{
    size_t used = strlen(text);
    if (used + strlen(word) + sizeof ", and 1000000 more" >= size) return false;
    snprintf(text + used, size - used, "%s%s", used ? ", " : "", word);
    return true;
}

static void list_hosts(const Node *nodes, int ranks, char *text, size_t size)
{
    int next = 0, left = 0;
    text[0] = 0;
    for (int i = 0; i < ranks; i++) {
        if (nodes[i].index != next) continue; /* the first rank of each node */
        next++;
        if (left > 0 || !append(text, size, nodes[i].host)) left++;
    }
    if (left > 0) snprintf(text + strlen(text), size - strlen(text), ", and %d more", left);
}

/* Each kind once, with how many nodes have it. */
static void list_processors(const Node *nodes, int ranks, char *text, size_t size)
{
    text[0] = 0;
    for (int i = 0, next = 0; i < ranks; i++) {
        int count = 0, before = 0, seen = 0;
        char word[sizeof nodes->processor + 32];
        if (nodes[i].index != next) continue;
        next++;
        for (int j = 0; j < ranks; j++) {
            if (nodes[j].index != seen) continue;
            seen++;
            bool same = strcmp(nodes[i].processor, nodes[j].processor) == 0;
            count += same;
            before += same && j < i;
        }
        if (before > 0) continue;
        snprintf(word, sizeof word, "%d x %s", count, nodes[i].processor);
        if (!append(text, size, word)) break;
    }
}

Status machine_describe(const World *world, int threads, Machine *machine, Error *error)
{
    Node mine = {.index = world->node_index, .threads = threads};
    *machine = (Machine){.threads = 0};
    Node *nodes = memory_alloc(world->size, sizeof *nodes, "the nodes' names", error);
    Status status = world_agree(world->comm, nodes ? STATUS_OK : STATUS_FAILED, error);
    if (!status) {
        snprintf(mine.host, sizeof mine.host, "%s", world->host);
        processor_name(mine.processor, sizeof mine.processor);
        MPI_Allgather(&mine, (int)sizeof mine, MPI_BYTE, nodes, (int)sizeof mine, MPI_BYTE, world->comm);
        list_hosts(nodes, world->size, machine->hosts, sizeof machine->hosts);
        list_processors(nodes, world->size, machine->processors, sizeof machine->processors);
        mpi_name(machine->mpi, sizeof machine->mpi);
        for (int i = 0; i < world->size; i++) machine->threads += nodes[i].threads;
    }
    free(nodes);
    return status;
}
