# A released .pth becomes safetensors, is evaluated, and is fine-tuned to another number of classes and image size.
if ! python3 -c 'import zipfile, pickletools' 2>/dev/null; then
    skip "python3 is not installed: nothing can make or read a .pth"
    return
fi
python3 "$CHECKOUT/tests/stories/released_pth.py" "$CHECKOUT/tests/goldens/models/t2t_vit_7.params.tsv" t7.pth.tar
expect 0 "" pth2safetensors t7.pth.tar t7.safetensors
expect 3 "" pth2safetensors "$CHECKOUT/README.md" never.safetensors
expect 0 "fits t2t_vit_7" t2t info t7.safetensors
photographs images 3
expect 0 "8 classes" t2t convert images data
expect 2 "1000 classes and the data set has 8" t2t eval --model t2t_vit_7 --data data --weights t7.safetensors
expect 0 "%" t2t predict --model t2t_vit_7 --weights t7.safetensors "$IMAGES/gray_q80_480x360.JPEG"
finetune=(mpirun -q -np 2 t2t train "$PREFIX/share/t2t/configs/finetune_cifar10.yaml" --set data=data --set threads=1
          --set model=t2t_vit_7 --set img_size=64 --set batch_size=8 --set log_interval=1 --set init_weights=t7.safetensors)
expect 0 "best.safetensors" "${finetune[@]}" --set epochs=1 --output tuned
check "the head starts anew, and this is told" grep -qi "head" tuned/log.txt
expect 0 "images 16" t2t eval --data data --weights tuned/best.safetensors
