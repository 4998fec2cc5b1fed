#include "dist/comm/cores.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- what the job has */

/* What the process could be bound to: a mask may be widened up to what the system grants the job. */
static cpu_set_t grantable(void)
{
    cpu_set_t own, all;
    CPU_ZERO(&own);
    if (sched_getaffinity(0, sizeof own, &own) != 0) return own;
    memset(&all, 0xff, sizeof all);
    if (sched_setaffinity(0, sizeof all, &all) != 0 || sched_getaffinity(0, sizeof all, &all) != 0) all = own;
    sched_setaffinity(0, sizeof own, &own);
    return all;
}

/* The lowest of the processors that are threads of one core; the processor itself where Linux does not say. */
static int first_sibling(int cpu)
{
    char path[96];
    int first = cpu;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
    FILE *file = fopen(path, "r");
    if (!file) return cpu;
    if (fscanf(file, "%d", &first) != 1) first = cpu;
    fclose(file);
    return first;
}

/* Without cgroups Slurm's share of a node is only a number of processors. */
static int usable_cores(void)
{
    cpu_set_t set = grantable();
    int cpus = CPU_COUNT(&set), cores = 0;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &set)) continue;
        int first = first_sibling(cpu);
        if (first == cpu || first >= CPU_SETSIZE || !CPU_ISSET(first, &set)) cores++;
    }
    const char *slurm = getenv("SLURM_CPUS_ON_NODE");
    int granted = slurm ? atoi(slurm) : 0;
    if (granted > 0 && granted < cpus) cores = (cores * granted + cpus - 1) / cpus;
    return cores > 0 ? cores : 1;
}

void cores_find(MPI_Comm node, NodeCores *cores)
{
    cpu_set_t own, joint;
    int rank, ranks;
    MPI_Comm_rank(node, &rank);
    MPI_Comm_size(node, &ranks);
    CPU_ZERO(&own);
    CPU_ZERO(&joint);
    if (sched_getaffinity(0, sizeof own, &own) != 0) CPU_SET(0, &own);
    *cores = (NodeCores){.own = CPU_COUNT(&own), .usable = usable_cores()};
    for (int r = 0; r < ranks; r++) {
        cpu_set_t mask = own;
        MPI_Bcast(&mask, (int)sizeof mask, MPI_BYTE, r, node);
        cores->sharing += CPU_EQUAL(&mask, &own) != 0;
        CPU_OR(&joint, &joint, &mask);
    }
    cores->joint = CPU_COUNT(&joint);
}

int cores_threads(const NodeCores *cores, int wanted)
{
    int part = cores->own / cores->sharing;
    if (wanted > 0) return wanted < cores->own ? wanted : cores->own;
    return part > 0 ? part : 1;
}

/* ---- what a person reads */

void cores_print(char *text, size_t room)
{
    cpu_set_t set;
    size_t used = 0;
    text[0] = 0;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return;
    for (int cpu = 0; cpu < CPU_SETSIZE && used + 32 < room; cpu++) {
        if (!CPU_ISSET(cpu, &set)) continue;
        int end = cpu;
        while (end + 1 < CPU_SETSIZE && CPU_ISSET(end + 1, &set)) end++;
        used += (size_t)snprintf(text + used, room - used, end > cpu ? "%s%d-%d" : "%s%d", used ? "," : "", cpu, end);
        cpu = end;
    }
}

static const char *many(int count) /* the plural's s */
{
    return count == 1 ? "" : "s";
}

void cores_problem(const NodeCores *cores, int wanted, int threads, int node_threads, const char *host, bool leads,
                   char *message, size_t room)
{
    char mask[256];
    message[0] = 0;
    cores_print(mask, sizeof mask);
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    if (wanted > online)
        snprintf(message, room, "threads: %d, but %s has %ld core%s, of which the process may use %d: %d compute",
                 wanted, host, online, many((int)online), cores->own, threads);
    else if (wanted > cores->own)
        snprintf(message, room,
                 "threads: %d, but on %s the process is bound to %d core%s (%s): %d compute; mpirun binds to one core "
                 "by default for up to two ranks: try `--bind-to none` or `--map-by slot:PE=%d`",
                 wanted, host, cores->own, many(cores->own), mask, threads, wanted);
    else if (leads && node_threads > cores->joint)
        snprintf(message, room,
                 "the ranks on %s have %d threads in all for %d core%s, so that they hold each other up: start fewer "
                 "ranks there, or let them use more cores (mpirun --bind-to none, Slurm's --cpus-per-task)",
                 host, node_threads, cores->joint, many(cores->joint));
    else if (leads && wanted == 0 && node_threads < cores->usable)
        snprintf(message, room,
                 "%d of the %d cores of %s compute, the others idle: rank 0 there may use %s; mpirun binds to one core "
                 "by default for up to two ranks: try `--bind-to none` or `--map-by ppr:RANKS:node:PE=CORES` "
                 "(`threads` in the "
                 "configuration, if it is meant so)",
                 node_threads, cores->usable, host, mask);
}
