# A run on 1 to 4 ranks: stopped by each signal, resumed on another number of ranks, then evaluated and shown.
expect 0 "10 classes" t2t convert --synthetic 640 data
settings=(--set data=data --set batch_size=64 --set log_interval=1 --set threads=1 --set warmup_epochs=0)
config=$PREFIX/share/t2t/configs/quickstart.yaml

for ranks in 1 2 3 4; do
    signals=(- USR1 TERM USR2 INT)
    start mpirun -q -np $ranks t2t train "$config" "${settings[@]}" --set epochs=400 --output "run$ranks"
    wait_text "step 4/" 60 || continue
    # To one of the ranks, as Slurm tells them: mpirun itself has ways of its own with TERM and INT.
    kill -s "${signals[ranks]}" "$(pgrep -f -- "--output run$ranks\$" | tail -1)"
    ended "$ranks ranks, ${signals[ranks]}: stopped after a checkpoint" 75 60
    last=$(ls -d run$ranks/checkpoints/step-* | tail -1)
    check "$last is whole" test -e "$last/manifest.json"
    next=$((5 - ranks)) step=$((10#${last##*-}))
    start mpirun -q -np $next t2t train "$config" "${settings[@]}" --set epochs=400 --output "run$ranks" --resume auto
    wait_text "step $((step + 2))/" 60 || continue
    check "$next ranks go on after step $step" grep -q "step $((step + 1))/" log
    kill -USR1 "$started"
    ended "and are stopped through mpirun" 75 60
done

expect 0 "best.safetensors" mpirun -q -np 2 t2t train "$config" "${settings[@]}" --set epochs=2 --output done
expect 0 "done" mpirun -q -np 2 t2t train "$config" "${settings[@]}" --set epochs=2 --output done --resume auto
expect 0 "images 128" t2t eval --data data --weights done/best.safetensors
expect 0 "images 128" mpirun -q -np 3 t2t eval --data data --weights done/best.safetensors
expect 0 "%" t2t predict --weights done/best.safetensors "$IMAGES"/{baseline420_q75_500x375,gray_q80_480x360}.JPEG \
    "$IMAGES/cmyk_q85_301x227.JPEG" "$IMAGES/png_inside_200x150.JPEG"
expect 0 "report.html" t2t report done
check "the report is a page" grep -q "</html>" done/report.html
expect 0 "2 of 2 validated" t2t info done
expect 2 "" t2t train "$config" "${settings[@]}" --set nonsense=1 --output never
expect 3 "" t2t train "$config" "${settings[@]}" --set data=nowhere --output never
