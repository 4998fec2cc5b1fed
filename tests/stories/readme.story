# Every command block of README.md and jobs/README.md, as printed. The environment is what they speak of: a checkout that
# is built, /data/imagenet-tars, /scratch, a released checkpoint and a batch. For /data and /scratch the story goes into
# a root of its own. A command that would take hours is stopped after its first steps, and its status looked at.

if [ -z "${INSIDE:-}" ]; then
    if ! unshare -m true 2>/dev/null; then
        skip "README.md: /data and /scratch need mounts of one's own (unshare -m, as root)"
        return
    fi
    mkdir ../root
    # shellcheck disable=SC2016
    INSIDE=1 unshare -m bash -c '
        root=$(realpath ../root)
        mount -t tmpfs story "$root" || exit
        for entry in /*; do
            case $entry in /data|/scratch) continue ;; esac
            if [ -L "$entry" ]; then cp -P "$entry" "$root$entry"
            elif [ -d "$entry" ]; then mkdir "$root$entry" && mount --rbind "$entry" "$root$entry"; fi
        done
        mkdir "$root/data" "$root/scratch"
        exec chroot "$root" bash -c "cd \"\$1\" && source \"\$2/lib.sh\" && source \"\$2/readme.story\"; counts" \
            story "$PWD" "$CHECKOUT/tests/stories"'
    read -r passed failed <"$COUNTS"
    return
fi

commands() { # the command lines of a file's indented blocks; of a transcript those after "$ "
    awk '/^    / { block = block substr($0, 5) "\n"; next }
         function flush(    lines, n, i, transcript) {
             transcript = block ~ /(^|\n)\$ /
             n = split(block, lines, "\n")
             for (i = 1; i <= n; i++)
                 if (!transcript && lines[i] != "") print lines[i]
                 else if (lines[i] ~ /^\$ /) print substr(lines[i], 3)
             block = ""
         }
         { flush() } END { flush() }' "$1"
}

built() { # the checkout, as make left it
    rm -rf build
    mkdir build
    tar -C "$CHECKOUT/build" -cf - core data dist tools libt2t.a t2t flags version.h | tar -xf - -C build
}

stop() { # ends what was started, with all that it started
    kill -TERM -- "-$started" 2>/dev/null
    sleep 2
    kill -KILL -- "-$started" 2>/dev/null
    wait "$started" 2>/dev/null
}

compiles() { # of a build of its own only the beginning: CI makes the whole of each
    start bash -c "$1"
    wait_text "  CC " 60 && good "$1 (stopped after its first files)"
    stop
    built
}

quickstart() {
    if ! [ -e /usr/share/datasets/fashion-mnist ]; then
        skip "$1: Debian's package dataset-fashion-mnist is not installed"
    else
        start bash -c "$1"
        wait_text "step 50/" 200 && good "$1 (stopped after 50 steps)"
        stop
        rm -rf runs/quickstart
    fi
    expect 0 "best.safetensors" jobs/quickstart --smoke --synthetic --output runs/quickstart
}

long_training() {
    if [ "$(sed -n 's/^MemAvailable: *\([0-9]*\) kB/\1/p' /proc/meminfo)" -lt 12000000 ]; then
        skip "$1: needs 12 GB of free memory"
        return
    fi
    start bash -c "$1"
    if wait_text "run folder" 120; then
        kill -USR1 "$started"
        ended "$1 (stopped before its first step)" 75 200
    else
        stop
    fi
}

released() {
    if ! python3 -c 'import zipfile, pickletools' 2>/dev/null; then
        skip "$1: python3 is not installed"
        return
    fi
    # With a head of as many classes as the story's ImageNet has: eval refuses any other.
    sed "s/\thead.weight\t1000x384\t384000\t/\thead.weight\t${#CLASSES[@]}x384\t$((${#CLASSES[@]} * 384))\t/
         s/\thead.bias\t1000\t1000\t/\thead.bias\t${#CLASSES[@]}\t${#CLASSES[@]}\t/" \
        tests/goldens/models/t2t_vit_14.params.tsv >params.tsv
    python3 tests/stories/released_pth.py params.tsv 81.5_T2T_ViT_14.pth.tar
    expect 0 "" bash -c "$1"
}

mkdir checkout
tar -C "$CHECKOUT" --exclude=./build --exclude=./.git --exclude=./runs -cf - . | tar -xf - -C checkout
cd checkout || return
built
photographs images 64
official_tars images /data/imagenet-tars
# One image and its class, already normalised: zeros.
header='{"input":{"dtype":"F32","shape":[1,3,224,224],"data_offsets":[0,602112]},"target":{"dtype":"I64","shape":[1],"data_offsets":[602112,602120]}}'
{ printf "\\x$(printf %02x ${#header})\0\0\0\0\0\0\0%s" "$header"; head -c 602120 /dev/zero; } >batch.safetensors

declare -A told=()
while read -r command <&9; do
    [ -z "${told[$command]:-}" ] || continue
    told[$command]=1
    case $command in
        jobs/quickstart*) [ -e runs/quickstart ] || quickstart "$command" ;;
        tests/run*) compiles "$command" ;;
        make\ [SCM]*=*)
            case $command in
                *clang*) tool=clang ;;
                *mpich*) tool=mpicc.mpich ;;
                *) tool=make ;;
            esac
            if command -v $tool >/dev/null; then compiles "$command"; else skip "$command: no $tool here"; fi ;;
        sbatch*) skip "$command: no Slurm here; tests/slurm/run starts one and submits these scripts" ;;
        mpirun*\ train\ *) long_training "$command" ;;
        tools/pth2safetensors*) released "$command" ;;
        *t14.safetensors*)
            if [ -e t14.safetensors ]; then expect 0 "" bash -c "$command"; else skip "$command: no t14.safetensors"; fi ;;
        *) expect 0 "" bash -c "$command" ;;
    esac
done 9< <(commands README.md; commands jobs/README.md)
check "README.md has its command blocks" test ${#told[@]} -ge 20
