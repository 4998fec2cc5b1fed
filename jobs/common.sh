# common.sh: what the job scripts share; sourced, never run. Bash.
#
# A job script sets its variables, then calls these:
#   parse_arguments "$@"     --dry-run is taken out; the rest is left in ARGUMENTS
#   stage FROM TO            copies a data set to each node's local disk (TO empty: does nothing); sets STAGED
#   launch COMMAND...        one process per rank by srun or mpirun; signals forwarded; returns the ranks' status
#   finish STATUS            what follows from it: done, requeue, or stop

DRY_RUN='' ARGUMENTS=() STAGED='' SIGNALLED='' CHILD=''

say() { echo "$(date '+%F %T') $*"; }

parse_arguments() {
    for argument in "$@"; do
        case $argument in
            --dry-run) DRY_RUN=1 ;;
            -h|--help) sed -n '2,/^# ====/s/^# \{0,1\}//p' "$0"; exit 0 ;;
            *) ARGUMENTS+=("$argument") ;;
        esac
    done
}

run() { # runs a command, or prints it in a dry run
    if [ -n "$DRY_RUN" ]; then printf '%q ' "$@"; echo; else "$@"; fi
}

# The words before a command that start one process per rank (or, with "node", one per node).
launcher() {
    case ${LAUNCH:-srun} in
        srun)
            LAUNCHER=(srun "--mpi=${MPI_TYPE:-pmix}" --kill-on-bad-exit=1)
            [ "${1:-}" = node ] && LAUNCHER+=("--ntasks=${SLURM_NNODES:-1}" --ntasks-per-node=1)
            # srun has not inherited the job's --cpus-per-task since Slurm 22.05.
            [ -n "${SLURM_CPUS_PER_TASK:-}" ] && LAUNCHER+=("--cpus-per-task=$SLURM_CPUS_PER_TASK") ;;
        mpirun)
            LAUNCHER=(mpirun -q)
            # Open MPI's mpirun does not look after its daemons by itself: it would wait for one that is cut off long
            # after the ranks have ended. With these it asks after 5 idle seconds, then 3 times every 2.
            export OMPI_MCA_oob_tcp_keepalive_time="${OMPI_MCA_oob_tcp_keepalive_time:-5}" \
                   OMPI_MCA_oob_tcp_keepalive_intvl="${OMPI_MCA_oob_tcp_keepalive_intvl:-2}" \
                   OMPI_MCA_oob_tcp_keepalive_probes="${OMPI_MCA_oob_tcp_keepalive_probes:-3}"
            [ -n "${HOSTFILE:-}" ] && LAUNCHER+=(--hostfile "$HOSTFILE")
            if [ "${1:-}" = node ]; then
                LAUNCHER+=(--map-by ppr:1:node --bind-to none)
            elif [ -n "${THREADS_PER_RANK:-${SLURM_CPUS_PER_TASK:-}}" ]; then
                LAUNCHER+=(--map-by "ppr:${RANKS_PER_NODE:-${SLURM_NTASKS_PER_NODE:-1}}:node:PE=${THREADS_PER_RANK:-$SLURM_CPUS_PER_TASK}"
                           --bind-to core)
            else
                LAUNCHER+=(--map-by "ppr:${RANKS_PER_NODE:-1}:node" --bind-to none)
            fi ;;
        *) echo "LAUNCH is '$LAUNCH'; it must be srun or mpirun" >&2; exit 2 ;;
    esac
}

# Signals wake the shell out of `wait`, so it asks again until the child is gone; bash remembers a reaped child's
# status, which the last `wait` fetches.
wait_for() {
    local status again
    wait "$1"; status=$?
    while kill -0 "$1" 2>/dev/null; do wait "$1"; status=$?; done
    wait "$1" 2>/dev/null; again=$?
    [ $again = 127 ] || status=$again
    return $status
}

# USR1 comes from Slurm ahead of the time limit. TERM and INT are handed on as USR1 too, since mpirun kills its ranks about
# two seconds after a TERM, and USR1 leaves them the time to write a checkpoint.
hand_on() {
    SIGNALLED=$1
    [ -z "$CHILD" ] || kill -USR1 "$CHILD" 2>/dev/null
}

launch() {
    local status
    launcher ranks
    if [ -n "$DRY_RUN" ]; then run "${LAUNCHER[@]}" "$@"; return 0; fi
    say "starting: ${LAUNCHER[*]} $*"
    CHILD=''
    trap 'hand_on USR1' USR1
    trap 'hand_on TERM' TERM INT
    "${LAUNCHER[@]}" "$@" &
    CHILD=$!
    [ -z "$SIGNALLED" ] || hand_on "$SIGNALLED" # it came while there was no child to tell
    wait_for $CHILD; status=$?
    trap - USR1 TERM INT
    say "the ranks ended with status $status"
    return $status
}

stage() {
    STAGED=$1
    [ -n "${2:-}" ] || return 0
    STAGED=$2/$(basename "$1")
    launcher node
    run "${LAUNCHER[@]}" "$T2T_HOME/jobs/stage" "$1" "$STAGED" || {
        echo "staging failed; training from $1 would work too: empty STAGE_TO" >&2
        exit 3
    }
}

# Slurm: continue a run that the time limit stopped (75 after USR1); a run that was cancelled, that is done, or whose
# settings or data are wrong is left alone. A crash is tried again a few times.
finish() {
    local status=$1 restarts=${SLURM_RESTART_COUNT:-0} again=''
    case $status in
        0) say "done" ;;
        75) [ "$SIGNALLED" = USR1 ] && again=1 || say "stopped after a checkpoint; sbatch again continues" ;;
        2|3) say "wrong settings or bad data: mend that first, then sbatch again" ;;
        *) [ -z "$SIGNALLED" ] && [ "$restarts" -lt "${MAX_CRASHES:-3}" ] && again=1 ;;
    esac
    if [ -n "$again" ] && [ "$restarts" -lt "${MAX_RESTARTS:-200}" ] && [ -n "${SLURM_JOB_ID:-}" ]; then
        say "requeueing job $SLURM_JOB_ID (restart $((restarts + 1)))"
        # Where requeueing is not allowed, the spooled copy of this script is submitted anew.
        run scontrol requeue "$SLURM_JOB_ID" || run sbatch "$0" "${ARGUMENTS[@]}"
    fi
    exit "$status"
}
