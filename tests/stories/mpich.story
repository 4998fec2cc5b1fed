# The program built with MPICH: convert, train, stop, resume.
if ! command -v mpicc.mpich >/dev/null || ! command -v mpirun.mpich >/dev/null; then
    skip "mpicc.mpich and mpirun.mpich are not installed"
    return
fi
mpich=$PWD/prefix
expect_build() { LIMIT=600 expect 0 "" make -s -C "$CHECKOUT" -j"$(nproc)" MPICC=mpicc.mpich BUILD=build/mpich "$@"; }
expect_build install PREFIX="$mpich" || return
export PATH=$mpich/bin:$PATH
expect 0 "10 classes" t2t convert --synthetic 320 one --shards 3
expect 0 "10 classes" mpirun.mpich -np 4 t2t convert --synthetic 320 four --shards 3
check "one rank and four write the same bytes" diff -r one four
settings=(--set data=one --set batch_size=32 --set log_interval=1 --set threads=1 --set warmup_epochs=0)
train=(t2t train "$mpich/share/t2t/configs/quickstart.yaml" "${settings[@]}")
start mpirun.mpich -np 2 "${train[@]}" --set epochs=400 --output run
if wait_text "step 3/" 60; then
    kill -USR1 "$(pgrep -f -- "--output run\$" | tail -1)"
    ended "stopped after a checkpoint" 75 60
fi
check "a checkpoint is there" ls run/checkpoints/step-*/manifest.json
step=$(ls -d run/checkpoints/step-* | tail -1)
step=$((10#${step##*-}))
start mpirun.mpich -np 3 "${train[@]}" --set epochs=400 --output run --resume auto
if wait_text "step $((step + 2))/" 60; then
    kill -USR1 "$(pgrep -f -- "--output run --resume auto\$" | tail -1)"
    ended "three ranks went on, and stop" 75 60
fi
expect 0 "best.safetensors" mpirun.mpich -np 2 "${train[@]}" --set epochs=1 --output done
expect 0 "images 64" mpirun.mpich -np 2 t2t eval --data one --weights done/best.safetensors
