#include "core/base/processor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

/* MIDR_EL1 of Arm's architecture: who made the core, and which it is. Cores of servers; of others the numbers say it. */
static const struct {
    long implementer, part;
    const char *name;
} CORES[] = {
    {0x41, 0xd07, "Arm Cortex-A57"},   {0x41, 0xd08, "Arm Cortex-A72"},         {0x41, 0xd0c, "Arm Neoverse N1"},
    {0x41, 0xd40, "Arm Neoverse V1"},  {0x41, 0xd49, "Arm Neoverse N2"},        {0x41, 0xd4f, "Arm Neoverse V2"},
    {0x41, 0xd83, "Arm Neoverse V3"},  {0x41, 0xd8e, "Arm Neoverse N3"},        {0x43, 0x0af, "Cavium ThunderX2"},
    {0x46, 0x001, "Fujitsu A64FX"},    {0x48, 0xd01, "HiSilicon TaiShan v110"}, {0xc0, 0xac3, "Ampere Ampere-1"},
    {0xc0, 0xac4, "Ampere Ampere-1a"},
};

/* The value of a line "key : value"; NULL: there is none. */
static const char *value_of(const char *cpuinfo, const char *key, size_t *length)
{
    for (const char *line = cpuinfo; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        size_t key_length = strlen(key);
        if (strncmp(line, key, key_length) != 0) continue;
        const char *at = line + key_length + strspn(line + key_length, " \t");
        if (*at != ':') continue;
        at += 1 + strspn(at + 1, " \t");
        *length = strcspn(at, "\n");
        return at;
    }
    return NULL;
}

void processor_name_from(const char *cpuinfo, char *text, size_t room)
{
    size_t length, ignored;
    const char *name = value_of(cpuinfo, "model name", &length);
    if (name) {
        snprintf(text, room, "%.*s", (int)length, name);
        return;
    }
    const char *implementer = value_of(cpuinfo, "CPU implementer", &ignored),
               *part = value_of(cpuinfo, "CPU part", &ignored);
    if (implementer && part) {
        long maker = strtol(implementer, NULL, 0), core = strtol(part, NULL, 0);
        snprintf(text, room, "Arm core 0x%lx:0x%lx", maker, core);
        for (size_t i = 0; i < sizeof CORES / sizeof CORES[0]; i++)
            if (CORES[i].implementer == maker && CORES[i].part == core) snprintf(text, room, "%s", CORES[i].name);
        return;
    }
    struct utsname system;
    snprintf(text, room, "%s", uname(&system) == 0 ? system.machine : "unknown processor");
}

void processor_name(char *text, size_t room)
{
    char cpuinfo[8192] = ""; /* the first processor is enough */
    FILE *file = fopen("/proc/cpuinfo", "r");
    size_t got = file ? fread(cpuinfo, 1, sizeof cpuinfo - 1, file) : 0;
    cpuinfo[got] = 0;
    if (file) fclose(file);
    processor_name_from(cpuinfo, text, room);
}
