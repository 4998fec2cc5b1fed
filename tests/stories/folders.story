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
# The validation split is val/ alone: other names are all there in the summary, or none of them is.
for name in validation test; do
    mkdir $name && cp -r images/train $name/train && cp -r images/val $name/$name
    t2t convert $name data_$name >log 2>&1
    check "$name/ is the validation split, or the summary has none" \
        eval "! grep -q ' val [0-9]' log || grep -q ' val 16 images' log"
done
# Bad images are listed, or end it when that is asked for.
cp -r images broken && echo "not an image" >broken/train/n01440764/text.JPEG
expect 0 "" t2t convert broken data_broken
check "the broken one is listed" grep -q text.JPEG data_broken/rejected.tsv
expect 3 "text.JPEG" t2t convert broken data_strict --strict
expect 3 "missing" t2t convert missing data_missing
