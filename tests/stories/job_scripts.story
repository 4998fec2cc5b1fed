# Every script of jobs/ as it is installed, from a folder of the user's own.
jobs=$PREFIX/share/t2t/jobs
for script in "$jobs"/*; do
    case $(basename "$script") in
        *.sbatch|*.mpirun|quickstart) expect 0 "$(basename "$script")" "$script" --help ;;
        packages) expect 0 "libopenmpi-dev" "$script" list build ;;
        stage) expect 2 "usage" "$script" ;;
        common.sh) ;;
        *) bad "$script: no story tells of it" ;;
    esac
done
photographs images 10
export LAUNCH=mpirun RANKS_PER_NODE=2
expect 0 "8 classes" "$jobs/convert.mpirun" images data/converted
SLURM_SUBMIT_DIR=$PWD expect 0 "8 classes" "$jobs/convert.sbatch" images data/again
check "the same bytes" diff -r data/converted data/again
expect 0 "holds" "$jobs/stage" data/converted local/converted
check "staged" diff -r -x .lock data/converted local/converted

export DATA=data/converted
small=(--set img_size=64 --set num_classes=8 --set batch_size=8 --set threads=1 --set log_interval=1 --set warmup_epochs=0)
expect 0 "best.safetensors" "$jobs/train.mpirun" configs/quickstart.yaml runs/a "${small[@]}" --set epochs=1
check "the run is where one stands" test -e runs/a/best.safetensors
expect 0 "images 16" "$jobs/eval.mpirun" runs/a/best.safetensors
SLURM_SUBMIT_DIR=$PWD expect 0 "images 16" "$jobs/eval.sbatch" runs/a/best.safetensors
expect 0 "best.safetensors" env STAGE_TO=local "$jobs/train.sbatch" configs/quickstart.yaml runs/b "${small[@]}" --set epochs=1
for script in finetune.mpirun finetune.sbatch; do
    expect 0 "best.safetensors" "$jobs/$script" runs/a/best.safetensors configs/quickstart.yaml "runs/$script" \
        "${small[@]}" --set epochs=1
done
printf 'lr=0.001\nlr=0.002 drop_path=0\n' >lists
SEEDS=1 SWEEP=lists expect 0 "drop_path=0,seed=1" "$jobs/sweep.sbatch" --here configs/quickstart.yaml runs/sweep "${small[@]}" \
    --set epochs=1
check "the table of a sweep has both runs" test 2 = "$(grep -c 'seed=1/ *done ' runs/sweep/summary.txt)"
expect 2 "status 2" "$jobs/train.mpirun" configs/quickstart.yaml runs/c --set nonsense=1
expect 3 "status 3" env DATA=nowhere "$jobs/train.mpirun" configs/quickstart.yaml runs/c
expect 2 "there is no program" env T2T=/nowhere/t2t "$jobs/train.mpirun"

for signal in USR1 TERM INT; do
    start "$jobs/train.mpirun" configs/quickstart.yaml "runs/$signal" "${small[@]}" --set epochs=4000
    wait_text "step 3/" 60 || continue
    kill -s $signal "$started"
    ended "train.mpirun is stopped by $signal" 75 60
    check "it says how to go on" grep -q "the same command continues" log
    check "a checkpoint is there" ls runs/$signal/checkpoints/step-*/manifest.json
done
# Ctrl-C, typed into a terminal, during steps of seconds.
mkfifo keys
exec 3<>keys
start script -qec "exec $jobs/train.mpirun configs/t2t_vit_7.yaml runs/tty --set batch_size=24 --set log_interval=1 --set threads=1" \
    /dev/null <&3
if wait_text "step 1/" 100; then
    sleep 1
    printf '\003' >&3
    ended "train.mpirun is stopped by Ctrl-C in a terminal" 75 60
    check "a checkpoint is there" ls runs/tty/checkpoints/step-*/manifest.json
fi
exec 3>&-

start "$jobs/quickstart" --synthetic --output runs/quick
wait_text "step 50/" 200 && good "quickstart trains (stopped after 50 steps)"
kill -INT -- "-$started"
wait "$started"
check "quickstart, stopped by Ctrl-C, left a checkpoint" ls runs/quick/run/checkpoints/step-*/manifest.json
expect 0 "best.safetensors" "$jobs/quickstart" --synthetic --smoke --output runs/smoke
