# jobs/FIRST_HOUR.md tells of a first hour by what its commands print. This runs them, with the installed program, on an
# ImageNet of eight classes in the official tars: each must succeed and print what the page shows, but for numbers. With
# `tests/stories/run --write` the page is written anew.
#
# In the page: "    $ COMMAND" with its output below, where a line "..." stands for lines that are left out; a block
# ```yaml whose first line "# NAME" names a file; and, unseen, <!-- wait FILE: TEXT --> until FILE has TEXT.
# The stand-in for Slurm is as much of it as the scripts need; tests/slurm/run has the real one.
page=$CHECKOUT/jobs/FIRST_HOUR.md
here=$PWD
mkdir bin data scratch

cat >bin/sbatch <<'SBATCH'
#!/usr/bin/env bash
# sbatch SCRIPT ARGUMENT...: the script as the next job, with two ranks, and again as often as it is requeued.
job=$(($(ls jobs | wc -l) + 1))
mkdir -p "jobs/$job"
log=$(sed -n 's/^#SBATCH --output=//p' "$1")
export SLURM_JOB_ID=$job SLURM_SUBMIT_DIR=$PWD SLURM_RESTART_COUNT=0 SLURM_CPUS_ON_NODE=2
(
    while :; do
        "$@" >>"${log/\%j/$job}" 2>&1 &
        echo $! >"jobs/$job/pid"
        wait
        [ -e "jobs/$job/requeue" ] || break
        rm "jobs/$job/requeue"
        SLURM_RESTART_COUNT=$((SLURM_RESTART_COUNT + 1))
    done
    touch "jobs/$job/over"
) </dev/null >/dev/null 2>&1 &
echo "Submitted batch job $job"
SBATCH
cat >bin/scontrol <<'SCONTROL'
#!/usr/bin/env bash
if [ "$1" = requeue ]; then touch "jobs/$2/requeue"; fi
SCONTROL
cat >bin/scancel <<'SCANCEL'
#!/usr/bin/env bash
# scancel --signal=USR1 --batch JOB
kill -USR1 "$(cat "jobs/$3/pid")"
SCANCEL
# Both ranks on the same two cores, which they divide, whatever this machine has. mpirun forwards output and errors in no
# order between the two, so each rank has one stream for both.
two_cores() { # the first two that this process may use, of a list like 0-3,8
    local ranges range cores=()
    IFS=, read -ra ranges <<<"$(taskset -cp $$ | sed 's/.*: //')"
    for range in "${ranges[@]}"; do mapfile -t -O ${#cores[@]} cores < <(seq "${range%-*}" "${range#*-}"); done
    echo "${cores[0]},${cores[1]:-${cores[0]}}"
}
cat >bin/srun <<SRUN
#!/usr/bin/env bash
while [ "\${1#--}" != "\$1" ]; do shift; done
exec taskset -c $(two_cores) mpirun -q -np 2 --bind-to none sh -c 'exec "\$@" 2>&1' sh "\$@"
SRUN
chmod +x bin/*
mkdir jobs
export PATH=$here/bin:$PATH

# Eight classes that can be learned in no time: those of one class are copies of one photograph.
tars() {
    local c i class
    for ((c = 0; c < ${#CLASSES[@]}; c++)); do
        class=${CLASSES[c]}
        mkdir -p "folder/train/$class" "folder/val/$class"
        for ((i = 1; i <= 60; i++)); do cp "$IMAGES/${KINDS[c]}.JPEG" "folder/train/$class/${class}_$i.JPEG"; done
    done
    for ((i = 1; i <= 2 * ${#CLASSES[@]}; i++)); do
        c=$(class_of $i)
        cp "$IMAGES/${KINDS[c]}.JPEG" "folder/val/${CLASSES[c]}/ILSVRC2012_val_$(printf %08d "$i").JPEG"
    done
    official_tars folder data/imagenet-tars
    cp "$IMAGES/${KINDS[1]}.JPEG" data/goldfish.jpg
}

# The page's names of places to those of this machine, and back.
here_from_page() { sed "s|/data/|$here/data/|g; s|/scratch/|$here/scratch/|g; s|/sw/t2t|$PREFIX|g"; }
page_from_here() {
    sed -E "s|$here/data/|/data/|g; s|$here/scratch/|/scratch/|g; s|$PREFIX|/sw/t2t|g; s/(rank 0 on |^hosts +)$(uname -n)/\1cn01/"
}

tell() { # runs $command; what it prints goes to the new page, and is held against $shown, the page's lines
    local status
    printf '%s' "$shown" >shown
    # shellcheck disable=SC2046
    eval "$(here_from_page <<<"$command")" >log.all 2>&1 </dev/null
    status=$?
    page_from_here <log.all >printed
    if awk -f "$CHECKOUT/tests/stories/transcript.awk" shown printed >told && [ $status = 0 ]; then
        good "$command"
    else
        diff shown told >log
        bad "$command: status $status, or it does not print what jobs/FIRST_HOUR.md shows (<), but for numbers"
    fi
    sed 's/^./    &/' told >>new
}

wait_for_text() { # FILE TEXT
    local end=$((SECONDS + 300)) over=''
    while [ $SECONDS -lt $end ] && [ -z "$over" ]; do
        [ -e "jobs/$(ls jobs | tail -n 1)/over" ] && over=1 # then it is there by now, or never
        grep -qsF -- "$2" "$1" && return
        sleep 0.05
    done
    tail -n 25 "$1" >log
    bad "$1 never has '$2'"
}

write_page() {
    local line command='' shown='' file='' empty=''
    : >new
    while IFS= read -r line || [ -n "$line" ]; do
        if [ -n "$command" ]; then
            case $line in
                "    $ "*) ;;
                "    "*) shown+=$empty${line#    }$'\n' empty=''; continue ;;
                "") empty+=$'\n'; continue ;;
            esac
            tell
            command='' shown=''
        fi
        printf '%s' "$empty" >>new
        printf '%s\n' "$line" >>new
        empty=''
        case $line in
            "    $ "*) command=${line#    $ } ;;
            '<!-- wait '*) line=${line#<!-- wait } line=${line% -->}; wait_for_text "${line%%: *}" "${line#*: }" ;;
            '```yaml') file=? ;;
            '```') file='' ;;
            '# '*) if [ "$file" = '?' ]; then file=${line#\# }; : >"$file"; fi ;;
        esac
        case $file in ''|'?') ;; *) here_from_page <<<"$line" >>"$file" ;; esac
    done <"$page"
    [ -z "$command" ] || tell
}

# What looks like the page, and what does not.
looks() { awk -f "$CHECKOUT/tests/stories/transcript.awk" <(printf "$1") <(printf "$2") >told; }
check "other numbers look alike" looks 'a 1\n...\nb 3m 02s\n' 'a 2.5\nb 4s\n'
check "what is left out stays left out" diff told <(printf 'a 2.5\n...\nb 4s\n')
check "another word does not" eval '! looks "a 1\n...\nb 2\n" "a 1\nc 2\n"'
check "nor another line" eval '! looks "a 1\nb 2\n" "a 1\nb 2\nc\n"'

tars
write_page
for job in jobs/*; do
    [ -e "$job/over" ] || kill -TERM "$(cat "$job/pid")" # it is not waited for any more
done
check "jobs/FIRST_HOUR.md has its commands" test "$(grep -c '^    \$ ' new)" -ge 12
if [ -n "${WRITE:-}" ]; then
    cp new "$page"
elif [ "$failed" != 0 ]; then
    echo "tests/stories/run --filter first_hour --write writes jobs/FIRST_HOUR.md anew: read it before it is committed"
fi
