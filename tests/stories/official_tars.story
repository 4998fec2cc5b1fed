# ImageNet as it is downloaded, with JPEGs of every kind, to a data set, to the first steps of a training.
photographs folder 20
official_tars folder tars
ls tars >listing
check "three official files" test "$(wc -l <listing)" = 3
expect 0 "train 160 images in 3 shards, val 16 images in 1 shard, 8 classes" t2t convert tars one --shards 3
expect 0 "8 classes" mpirun -q -np 4 t2t convert tars four --shards 3
check "one rank and four write the same bytes" diff -r one four
expect 0 "already converted" t2t convert tars one --shards 3
expect 0 "good: 176 images" t2t verify one --decode
expect 0 "8 classes" t2t info one
expect 0 "" t2t info one --contact-sheet sheet.png
check "the contact sheet is a PNG" test "$(head -c 8 sheet.png | tail -c 7 | head -c 3)" = PNG
# The same images from folders: the devkit's ids and ground truth led to the same labels.
expect 0 "8 classes" t2t convert folder from_folder --shards 3
labels() { t2t info "$1" | sed -n 's/^ *\([0-9]*\) .*\(train [0-9]*, val [0-9]*\)$/\1 \2/p'; }
check "as many images of each class as in the folders" diff <(labels one) <(labels from_folder)
check "words of the classes" grep -q "n01440764  tench, Tinca tinca" <(t2t info one)
start mpirun -q -np 2 t2t train "$PREFIX/share/t2t/configs/quickstart.yaml" --set data=one --set batch_size=32 \
    --set img_size=64 --set num_classes=8 --set log_interval=1 --set threads=1 --set epochs=2000 --output run
if wait_text "step 3/" 60; then
    kill -USR1 "$started"
    ended "training of these images is stopped" 75 60
    check "a checkpoint is there" ls run/checkpoints/step-*/manifest.json
fi
