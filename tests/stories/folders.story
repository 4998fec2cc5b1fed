# Image folders, as torchvision's ImageFolder reads them.
photographs images 5
expect 0 "train 40 images in 2 shards, val 16 images in 1 shard, 8 classes" t2t convert images data --shards 2
expect 0 "good: 56 images" t2t verify data --decode
expect 0 "8 classes" t2t info data
# Only train: there is nothing to validate on.
mkdir only && cp -r images/train only/train
t2t convert only data_only >log 2>&1
status=$?
check "a folder without val is converted or refused with words (status $status)" \
    eval "{ [ $status = 0 ] && t2t verify data_only >log; } || { [ $status = 3 ] && grep -q val log; }"
# validation/ is val/ under another name, test/ a split of its own; what is neither is named.
mkdir other && cp -r images/train other/train && cp -r images/val other/validation && cp -r images/val other/test && mkdir other/notes
expect 0 "val 16 images in 1 shard, test 16 images in 1 shard" t2t convert other data_other
rm -r data_other
expect 0 "left out: other/notes: neither train/, val/, validation/ nor test/" t2t convert other data_other
# Bad images are listed, or end it when that is asked for.
cp -r images broken && echo "not an image" >broken/train/n01440764/text.JPEG
expect 0 "" t2t convert broken data_broken
check "the broken one is listed" grep -q text.JPEG data_broken/rejected.tsv
expect 3 "text.JPEG" t2t convert broken data_strict --strict
expect 3 "missing" t2t convert missing data_missing
