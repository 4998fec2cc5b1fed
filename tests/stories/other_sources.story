# CIFAR-10 and CIFAR-100 binaries, and IDX files.
records() { # records LABEL_BYTES N: labels count up to 9, pixels are noise
    local i label
    for ((i = 0; i < $2; i++)); do
        printf -v label '\\x%02x' $((i % 10))
        [ "$1" = 1 ] || printf '\x01'
        printf "$label"
        head -c 3072 /dev/urandom
    done
}
mkdir cifar10 cifar100
for i in 1 2 3 4 5; do records 1 20 >cifar10/data_batch_$i.bin; done
records 1 10 >cifar10/test_batch.bin
printf '%s\n' airplane automobile bird cat deer dog frog horse ship truck >cifar10/batches.meta.txt
expect 0 "train 100 images in 1 shard, val 10 images in 1 shard, 10 classes" t2t convert cifar10 data10
expect 0 "good: 110 images" t2t verify data10 --decode
records 2 50 >cifar100/train.bin
records 2 10 >cifar100/test.bin
for ((i = 0; i < 100; i++)); do echo "class_$i"; done >cifar100/fine_label_names.txt
expect 0 "train 50 images in 1 shard, val 10 images in 1 shard, 100 classes" t2t convert cifar100 data100
expect 0 "good: 60 images" t2t verify data100 --decode
# CIFAR-10 goes into the fine-tuning recipe's first line of work.
head -c 1000 cifar10/data_batch_1.bin >short.bin && mkdir cut_off && cp cifar10/* cut_off && mv short.bin cut_off/data_batch_1.bin
expect 3 "data_batch_1.bin" t2t convert cut_off data_cut

idx() { # idx NAME N: gray images of 28 x 28 and their labels
    local i label
    { printf '\0\0\x08\x03\0\0\0'; printf "\\x$(printf %02x "$2")\0\0\0\x1c\0\0\0\x1c"; head -c $(($2 * 784)) /dev/urandom; } \
        >"idx/$1-images-idx3-ubyte"
    {
        printf '\0\0\x08\x01\0\0\0'; printf "\\x$(printf %02x "$2")"
        for ((i = 0; i < $2; i++)); do printf -v label '\\x%02x' $((i % 10)); printf "$label"; done
    } >"idx/$1-labels-idx1-ubyte"
}
mkdir idx
idx train 100
idx t10k 20
expect 0 "train 100 images in 1 shard, val 20 images in 1 shard, 10 classes" t2t convert idx data_idx
expect 0 "good: 120 images" t2t verify data_idx --decode
gzip idx/*
expect 0 "10 classes" t2t convert idx data_gz
check "gzip'ed files give the same bytes" diff -r data_idx data_gz
