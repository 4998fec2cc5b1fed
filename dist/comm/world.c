#include "dist/comm/world.h"

#include <stdio.h>
#include <stdlib.h>

#include "dist/comm/topology.h"

Status world_mpi_failed(int code, const char *doing, Error *error)
{
    char text[MPI_MAX_ERROR_STRING] = "unknown error";
    int length;
    MPI_Error_string(code, text, &length);
    return error_set(error, STATUS_FAILED, "MPI: %s: %s", doing, text);
}

Status world_agree(MPI_Comm comm, Status status, Error *error)
{
    int rank;
    MPI_Comm_rank(comm, &rank);
    struct {
        int failed, rank;
    } mine = {status != STATUS_OK, rank}, first;
    int code = MPI_Allreduce(&mine, &first, 1, MPI_2INT, MPI_MAXLOC, comm);
    if (code != MPI_SUCCESS) return world_mpi_failed(code, "agreeing on success", error);
    if (!first.failed) return STATUS_OK;
    Error told = *error;
    told.status = status;
    code = MPI_Bcast(&told, (int)sizeof told, MPI_BYTE, first.rank, comm);
    if (code != MPI_SUCCESS) return world_mpi_failed(code, "telling of a failure", error);
    *error = told;
    return told.status;
}

/* ---- launched as meant? */

static int count_in(char *(*get)(const char *), const char *name)
{
    const char *value = get(name);
    return value ? atoi(value) : 0;
}

const char *world_launch_problem(int size, char *(*get)(const char *), char *message, size_t room)
{
    /* What each MPI library's own launcher sets comes first: under Slurm, mpirun -np 1 is a choice, not a mistake. */
    static const char *const LAUNCHERS[][2] = {{"OMPI_COMM_WORLD_SIZE", "Open MPI's mpirun"},
                                               {"PMI_SIZE", "a PMI launcher (MPICH's mpiexec, or srun --mpi=pmi2)"},
                                               {"MV2_COMM_WORLD_SIZE", "MVAPICH's mpirun"}};
    if (size > 1) return NULL;
    for (size_t i = 0; i < sizeof LAUNCHERS / sizeof LAUNCHERS[0]; i++) {
        if (!get(LAUNCHERS[i][0])) continue;
        int count = count_in(get, LAUNCHERS[i][0]);
        if (count <= 1) return NULL;
        snprintf(message, room,
                 "MPI sees one rank, but %s=%d: %s started %d processes that this program's MPI library does not "
                 "recognise, so each would train alone\n"
                 "  hint: launch with the mpirun of the MPI that t2t was built with (`ldd t2t | grep libmpi` tells "
                 "which), or under Slurm with `srun --mpi=pmix`",
                 LAUNCHERS[i][0], count, LAUNCHERS[i][1], count);
        return message;
    }
    int step_tasks = count_in(get, "SLURM_STEP_NUM_TASKS"), tasks = count_in(get, "SLURM_NTASKS");
    if (step_tasks > 1) {
        snprintf(message, room,
                 "MPI sees one rank, but SLURM_STEP_NUM_TASKS=%d: this srun does not speak the MPI library's protocol "
                 "(usually Slurm without PMIx), so each process would train alone\n"
                 "  hint: `srun --mpi=pmix` if `srun --mpi=list` shows it; else `mpirun t2t ...` inside sbatch or "
                 "salloc, which needs no PMIx of Slurm",
                 step_tasks);
        return message;
    }
    if (tasks > 1) {
        snprintf(message, room,
                 "MPI sees one rank, but SLURM_NTASKS=%d: the program was started without a launcher\n"
                 "  hint: `srun --mpi=pmix t2t ...` or `mpirun t2t ...`; for one rank on purpose, `mpirun -np 1 t2t "
                 "...`",
                 tasks);
        return message;
    }
    return NULL;
}

/* ---- start and end */

Status world_start(World *world, Error *error)
{
    *world = (World){0};
    /* Open MPI's tcp sends large messages by a protocol of its own that lets the two directions of a link hold each
     * other up; plain sends do not. Whoever sets the variable knows better. */
    setenv("OMPI_MCA_btl_tcp_flags", "send,inplace", 0);

    int provided, code = MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &provided);
    if (code != MPI_SUCCESS) return world_mpi_failed(code, "MPI_Init_thread", error);
    world->started = true;
    world->comm = MPI_COMM_WORLD;
    if (provided < MPI_THREAD_SERIALIZED)
        return error_set(error, STATUS_FAILED,
                         "this MPI library gives thread level %d, but MPI_THREAD_SERIALIZED (%d) is needed: the "
                         "gradients are summed by a thread of their own; use an MPI built with thread support",
                         provided, MPI_THREAD_SERIALIZED);
    MPI_Comm_rank(MPI_COMM_WORLD, &world->rank);
    MPI_Comm_size(MPI_COMM_WORLD, &world->size);
    char problem[1024];
    if (world_launch_problem(world->size, getenv, problem, sizeof problem))
        return error_set(error, STATUS_FAILED, "%s", problem);

    Topology topology = {0};
    Status status = topology_create(&topology, MPI_COMM_WORLD, 0, error);
    if (status) return status;
    world->local_rank = topology.local_rank;
    world->local_size = topology.local_size;
    world->node_index = topology.node_index;
    world->node_count = topology.node_count;
    cores_find(topology.node, &world->cores);
    topology_free(&topology);
    int length;
    MPI_Get_processor_name(world->host, &length);
    return STATUS_OK;
}

void world_end(World *world)
{
    if (world->started) MPI_Finalize();
    *world = (World){0};
}

void world_report(const World *world, int wanted, int threads, WorldReport *report)
{
    char affinity[256];
    *report = (WorldReport){0};
    cores_print(affinity, sizeof affinity);
    if (world->rank == 0)
        snprintf(report->line, sizeof report->line, "%d rank%s on %d node%s, %d thread%s each; rank 0 on %s, cores %s",
                 world->size, world->size > 1 ? "s" : "", world->node_count, world->node_count > 1 ? "s" : "", threads,
                 threads > 1 ? "s" : "", world->host, affinity);

    MPI_Comm node;
    int node_threads = 0;
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, world->rank, MPI_INFO_NULL, &node);
    MPI_Allreduce(&threads, &node_threads, 1, MPI_INT, MPI_SUM, node);
    MPI_Comm_free(&node);
    cores_problem(&world->cores, wanted, threads, node_threads, world->host, world->local_rank == 0, report->warning,
                  sizeof report->warning);
}

/* ---- small collectives, for who must not call MPI */

void world_barrier(MPI_Comm comm)
{
    MPI_Barrier(comm);
}

double world_largest(double value, MPI_Comm comm)
{
    MPI_Allreduce(MPI_IN_PLACE, &value, 1, MPI_DOUBLE, MPI_MAX, comm);
    return value;
}

double world_sum(double value, MPI_Comm comm)
{
    MPI_Allreduce(MPI_IN_PLACE, &value, 1, MPI_DOUBLE, MPI_SUM, comm);
    return value;
}

void world_broadcast(void *data, size_t bytes, MPI_Comm comm)
{
    const size_t most = (size_t)1 << 30; /* at a time: MPI counts in int */
    for (size_t at = 0; at < bytes; at += most)
        MPI_Bcast((char *)data + at, (int)(bytes - at < most ? bytes - at : most), MPI_BYTE, 0, comm);
}

Status world_split(MPI_Comm comm, int group, MPI_Comm *part, Error *error)
{
    int rank;
    MPI_Comm_rank(comm, &rank);
    int code = MPI_Comm_split(comm, group, rank, part);
    return code == MPI_SUCCESS ? STATUS_OK : world_mpi_failed(code, "MPI_Comm_split", error);
}

void world_split_free(MPI_Comm *part)
{
    MPI_Comm_free(part);
}
