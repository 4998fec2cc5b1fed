# shellcheck shell=bash
# common.sh: what the job scripts share; sourced, never run. Bash.
#
# A job script sets its variables, then calls these:
#   parse_arguments "$@"     --dry-run is taken out; the rest is left in ARGUMENTS
#   find_program             sets T2T, unless it is set
#   config_file NAME         prints where that configuration is: here, or beside the scripts
#   data_set CONFIG ELSE     prints where the data set is: --set data=..., DATA, what the configuration says, or ELSE
#   stage FROM TO            copies a data set to each node's local disk (TO empty: does nothing); sets STAGED
#   launch COMMAND...        one process per rank by srun or mpirun; signals forwarded; returns the ranks' status
#   shrink STATUS OUTPUT     after ranks that ended so: true when a node is gone and others are left; launch then uses those
#   finish STATUS            what follows from it: done, requeue, or stop
# ==== edit from here: for all scripts of this folder
# The network of all traffic between ranks and between launchers: names (eth0, ib0) or networks (10.0.0.0/8), with commas.
# Empty: Open MPI listens on every interface of a host and tries all that it finds.
NETWORK_INTERFACE=${NETWORK_INTERFACE:-}
# Open MPI's mpirun, when it is told to end its ranks or when the first of them has ended with another status than 0, sends
# TERM and, so many seconds later (by itself: 1), KILL. It waits that long whether ranks are left or not.
KILL_TIMEOUT=${KILL_TIMEOUT:-3}
# An mpirun that has lost all its processes, and processes that outlive their mpirun, are ended after so many seconds.
LINGER=${LINGER:-20}
# Slurm may notice so many seconds after the ranks that a node is gone (SlurmdTimeout of slurm.conf).
LOST_WAIT=${LOST_WAIT:-90}
# ==== to here

LEFT_NODES='' LEFT_RANKS=''
DRY_RUN='' ARGUMENTS=() STAGED='' SIGNALLED='' CHILD='' TOLD=0

say() { echo "$(date '+%F %T') $*"; }

parse_arguments() {
    for argument in "$@"; do
        case $argument in
            --dry-run) DRY_RUN=1 ;;
            -h|--help) sed -n '2,/^# ====/{/^# ====/d; s/^# \{0,1\}//p}' "$0"; exit 0 ;;
            *) ARGUMENTS+=("$argument") ;;
        esac
    done
}

run() { # runs a command, or prints it in a dry run
    if [ -n "$DRY_RUN" ]; then printf '%q ' "$@"; echo; else "$@"; fi
}

# In a checkout the program is what make built, and files are named from the checkout's folder, wherever the script was
# started. Installed, it is bin/t2t of the same prefix, and files are named from the folder where one stands.
find_program() {
    local installed=$T2T_HOME/../../bin/t2t
    if [ -x "$installed" ] && ! [ -e "$T2T_HOME/Makefile" ]; then
        T2T=${T2T:-$(cd "$(dirname "$installed")" && pwd)/t2t}
    else
        cd "$T2T_HOME" || exit 2
        T2T=${T2T:-build/t2t}
    fi
    command -v "${T2T%% *}" >/dev/null && return
    echo "$(basename "$0"): there is no program '${T2T%% *}' (seen from $PWD). Run make in the checkout, or call the" \
         "script of an installed one (make install PREFIX=DIR: DIR/share/t2t/jobs), or set T2T to the program" >&2
    exit 2
}

config_file() {
    if ! [ -e "$1" ] && [ -e "$T2T_HOME/$1" ]; then echo "$T2T_HOME/$1"; else echo "$1"; fi
}

yaml_value() { # FILE KEY: a plain or quoted word
    sed -n "s/^$2: *//p" "$1" | sed "s/[[:space:]]\{1,\}#.*//; s/[[:space:]]*\$//; s/^\([\"']\)\(.*\)\1\$/\2/"
}

data_set() {
    local file=$1 found=$DATA base depth argument
    for argument in "${ARGUMENTS[@]}"; do # t2t takes the last --set there is
        case $argument in data=*) found=${argument#data=} ;; --set=data=*) found=${argument#--set=data=} ;; esac
    done
    for ((depth = 0; depth < 16; depth++)); do # a configuration, what it builds on, and so on
        { [ -z "$found" ] && [ -f "$file" ]; } || break
        found=$(yaml_value "$file" data) base=$(yaml_value "$file" base)
        [ -n "$base" ] || break
        case $base in /*) file=$base ;; *) file=$(dirname "$file")/$base ;; esac
    done
    [ -n "$found" ] || echo "$(basename "$0"): neither DATA nor \`data:\` of $1 says where the data set is: taking $2" >&2
    echo "${found:-$2}"
}

# Open MPI reads these from the environment, under srun too; what the user has set is kept.
open_mpi_settings() {
    if [ -n "$NETWORK_INTERFACE" ]; then
        export OMPI_MCA_btl_tcp_if_include="${OMPI_MCA_btl_tcp_if_include:-$NETWORK_INTERFACE}" \
               OMPI_MCA_oob_tcp_if_include="${OMPI_MCA_oob_tcp_if_include:-$NETWORK_INTERFACE}"
    fi
    export OMPI_MCA_odls_base_sigkill_timeout="${OMPI_MCA_odls_base_sigkill_timeout:-$KILL_TIMEOUT}"
    # Open MPI's mpirun does not look after its daemons by itself: it would wait for one that is cut off long after the
    # ranks have ended. With these it asks after 5 idle seconds, then 3 times every 2.
    export OMPI_MCA_oob_tcp_keepalive_time="${OMPI_MCA_oob_tcp_keepalive_time:-5}" \
           OMPI_MCA_oob_tcp_keepalive_intvl="${OMPI_MCA_oob_tcp_keepalive_intvl:-2}" \
           OMPI_MCA_oob_tcp_keepalive_probes="${OMPI_MCA_oob_tcp_keepalive_probes:-3}"
}

# The words before a command that start one process per rank (or, with "node", one per node).
launcher() {
    open_mpi_settings
    case ${LAUNCH:-srun} in
        srun)
            LAUNCHER=(srun "--mpi=${MPI_TYPE:-pmix}" --kill-on-bad-exit=1)
            [ -n "$LEFT_NODES" ] && LAUNCHER+=("--nodelist=$LEFT_NODES" "--nodes=$(count "$LEFT_NODES")" "--ntasks=$LEFT_RANKS")
            [ "${1:-}" = node ] && LAUNCHER+=("--ntasks=${SLURM_NNODES:-1}" --ntasks-per-node=1)
            # srun has not inherited the job's --cpus-per-task since Slurm 22.05.
            [ -n "${SLURM_CPUS_PER_TASK:-}" ] && LAUNCHER+=("--cpus-per-task=$SLURM_CPUS_PER_TASK") ;;
        mpirun)
            LAUNCHER=(mpirun -q)
            [ -n "${HOSTFILE:-}" ] && LAUNCHER+=(--hostfile "$HOSTFILE")
            [ -n "$LEFT_NODES" ] && LAUNCHER+=(--host "$LEFT_NODES" -np "$LEFT_RANKS")
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

# USR1 comes from Slurm ahead of the time limit. TERM, Ctrl-C and the terminal's end are handed on as USR1 too, once:
# mpirun kills its ranks soon after a TERM, and USR1 leaves them the time to write a checkpoint. Whoever asks again,
# at least a second later, does not want to wait: then it is TERM.
hand_on() {
    SIGNALLED=$1
    [ -n "$CHILD" ] || return
    local now
    now=$(date +%s%3N)
    if [ "$TOLD" = 0 ]; then
        TOLD=$now
        kill -USR1 "$CHILD" 2>/dev/null
    elif [ $((now - TOLD)) -ge 1000 ]; then
        kill -TERM "$CHILD" 2>/dev/null
    fi
}

pause() { read -rt "$1" <> <(:) || :; } # sleeps without a process

# "has" or nothing: is there a process, not yet a zombie, whose parent is $1? Without ps, which a container may lack.
living_child_of() {
    local file line fields
    for file in /proc/[0-9]*/stat; do
        read -r line 2>/dev/null <"$file" || continue
        read -ra fields <<<"${line##*) }" # state, parent
        [ "${fields[1]}" = "$1" ] && [ "${fields[0]}" != Z ] && { echo has; return; }
    done
}

# mpirun can stay for ever when all its ranks were killed at once. Once it has had processes and has none any more,
# it gets LINGER seconds, beside those that it waits after TERM: twice what it is told.
watch_lingering() {
    local seen='' idle=0 limit=$((LINGER + 2 * OMPI_MCA_odls_base_sigkill_timeout))
    while kill -0 "$1" 2>/dev/null; do
        if [ -n "$(living_child_of "$1")" ]; then seen=1 idle=0; else idle=$((idle + 1)); fi
        if [ -n "$seen" ] && [ $idle -gt $limit ]; then
            say "mpirun has no processes any more and does not end: ending it"
            kill -TERM "$1"; pause 2; kill -KILL "$1" 2>/dev/null
        fi
        pause 1
    done
}

# The processes on this host that were started with the mark $1 in their environment.
marked() { grep -lzxF "T2T_LAUNCH=$1" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3; }

# Ranks can outlive an mpirun that was ended while it was starting them.
end_orphans() {
    local left seconds
    for ((seconds = 0; seconds <= LINGER; seconds++)); do
        left=$(marked "$1")
        [ -n "$left" ] || return
        pause 1
    done
    say "processes that outlived mpirun are killed: ${left//$'\n'/ }"
    echo "$left" | xargs kill -KILL 2>/dev/null
}

launch() {
    local status mark=$$-$RANDOM$RANDOM watch=''
    launcher ranks
    if [ -n "$DRY_RUN" ]; then run "${LAUNCHER[@]}" "$@"; return 0; fi
    say "starting: ${LAUNCHER[*]} $*"
    CHILD='' TOLD=0
    trap 'hand_on USR1' USR1
    trap 'hand_on TERM' TERM INT HUP
    # In a process group of its own, so that Ctrl-C in a terminal reaches this script alone. Such a group must not read
    # from the terminal.
    set -m
    T2T_LAUNCH=$mark "${LAUNCHER[@]}" "$@" </dev/null &
    CHILD=$!
    if [ "${LAUNCHER[0]}" = mpirun ]; then
        watch_lingering "$CHILD" </dev/null &
        watch=$!
        disown $watch
    fi
    set +m
    [ -z "$SIGNALLED" ] || hand_on "$SIGNALLED" # it came while there was no child to tell
    wait_for $CHILD; status=$?
    if [ -n "$watch" ]; then
        kill "$watch" 2>/dev/null
        end_orphans "$mark"
    fi
    trap - USR1 TERM INT HUP
    say "the ranks ended with status $status"
    return $status
}

count() { tr ',' '\n' <<<"$1" | grep -c .; }

# The nodes of this job that Slurm can reach, with commas. A star behind the state means that it cannot.
living_nodes() {
    sinfo -h -N -n "$SLURM_JOB_NODELIST" -o '%N %t' 2>/dev/null |
        awk '$2 ~ /^(alloc|mix|idle|comp)[a-z]*$/ && !seen[$1]++ { printf "%s%s", comma, $1; comma = "," }'
}

# With --no-kill a job outlives its nodes. The run goes on with the ranks that the others have, from the last checkpoint; one
# that is `reproducible` with the next smaller power of two of ranks that train, so that its bits stay what they were.
shrink() {
    local status=$1 setting=$2/config.yaml before=${SLURM_JOB_NUM_NODES:-1} left='' seconds workers train=1 server=0
    local per_node=${SLURM_NTASKS_PER_NODE:-1}
    case $status in 0|2|3|75) return 1 ;; esac
    [ -z "$SIGNALLED" ] && [ -n "${SLURM_JOB_NODELIST:-}" ] && [ "$before" -gt 1 ] || return 1
    for ((seconds = 0; seconds <= LOST_WAIT; seconds += 5)); do
        left=$(living_nodes)
        [ -n "$left" ] && [ "$(count "$left")" -lt "$before" ] && break
        left=''
        pause 5
    done
    [ -n "$left" ] || return 1
    per_node=${per_node%%(*}
    LEFT_RANKS=$(($(count "$left") * per_node))
    workers=$(sed -n 's/^reproducible: *\([0-9]*\).*/\1/p' "$setting" 2>/dev/null)
    if [ "${workers:-0}" -gt 0 ]; then
        grep -q '^coordinator: *dedicated' "$setting" && server=1
        while [ $((2 * train + server)) -le $LEFT_RANKS ] && [ $((2 * train)) -le "$workers" ]; do train=$((2 * train)); done
        LEFT_RANKS=$((train + server))
    fi
    LEFT_NODES=$(cut -d, -f1-$(((LEFT_RANKS + per_node - 1) / per_node)) <<<"$left")
    SLURM_JOB_NODELIST=$LEFT_NODES SLURM_JOB_NUM_NODES=$(count "$LEFT_NODES")
    say "of $before nodes $(count "$left") are left: $left; going on with $LEFT_RANKS ranks on $LEFT_NODES"
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
        run scontrol requeue "$SLURM_JOB_ID" ||
            run sbatch ${SLURM_ARRAY_TASK_ID:+--array="$SLURM_ARRAY_TASK_ID"} "$0" "${ARGUMENTS[@]}"
    fi
    exit "$status"
}
