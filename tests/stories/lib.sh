# shellcheck shell=bash
# lib.sh: what the stories share; sourced by tests/stories/run before each story. Bash.
#
#   expect STATUS TEXT COMMAND...   runs it; it must end with STATUS and have printed TEXT (empty: anything)
#   check WHAT COMMAND...           COMMAND must succeed
#   start COMMAND...                runs it meanwhile, in a process group of its own; its output goes to ./log
#   wait_text TEXT SECONDS          until ./log has TEXT
#   ended WHAT STATUS SECONDS       what was started must end by itself, with STATUS
#   skip REASON                     notes what is not told on this machine

passed=0 failed=0 started=''

good() { passed=$((passed + 1)); echo "ok: $*"; }
bad() { failed=$((failed + 1)); echo "FAILED: $*"; tail -n 25 log 2>/dev/null | sed 's/^/    /'; }
skip() { echo "SKIPPED: $*"; }
counts() { echo "$passed $failed" >"$COUNTS"; }

expect() {
    local want=$1 text=$2 status
    shift 2
    timeout -k 5 "${LIMIT:-120}" "$@" >log 2>&1 </dev/null
    status=$?
    if [ $status != "$want" ]; then bad "$*: status $status instead of $want"; return 1; fi
    if [ -n "$text" ] && ! grep -qF -- "$text" log; then bad "$*: does not say '$text'"; return 1; fi
    good "$*"
}

check() {
    local what=$1
    shift
    if "$@"; then good "$what"; else bad "$what"; return 1; fi
}

start() {
    rm -f log
    set -m
    "$@" >log 2>&1 &
    started=$!
    set +m
}

wait_text() {
    local tries
    for ((tries = 0; tries < 10 * $2; tries++)); do
        grep -qsF -- "$1" log && return 0
        kill -0 "$started" 2>/dev/null || break
        sleep 0.1
    done
    grep -qsF -- "$1" log && return 0
    bad "no '$1' within $2 s, or it ended before"
    return 1
}

ended() {
    local tries status
    for ((tries = 0; tries < 10 * $3; tries++)); do
        kill -0 "$started" 2>/dev/null || break
        sleep 0.1
    done
    if kill -0 "$started" 2>/dev/null; then
        kill -KILL -- "-$started"
        bad "$1: still running after $3 s"
        return 1
    fi
    wait "$started"
    status=$?
    if [ $status = "$2" ]; then good "$1"; else bad "$1: status $status instead of $2"; return 1; fi
}

# ---- images

IMAGES=$CHECKOUT/tests/goldens/data/images
KINDS=(baseline420_q75_500x375 gray_q80_480x360 cmyk_q85_301x227 png_inside_200x150 exif_rot6_160x120
       ycck_q85_301x227 progressive420_q85_333x500 odd420_q60_61x47 odd422_q80_67x53 full444_q95_64x48)
CLASSES=(n01440764 n01443537 n01484850 n01491361 n01494475 n01496331 n01498041 n01514668)
IDS=(449 450 442 443 444 445 446 383) # their ILSVRC2012_IDs

# The class of validation image I: unevenly many of each, so that counts tell whether labels are right.
class_of() { echo $(($1 * $1 % ${#CLASSES[@]})); }

# photographs FOLDER N: train/CLASS with N images each, of every kind; val/CLASS with 16 in all.
photographs() {
    local class i kind=0
    for class in "${CLASSES[@]}"; do
        mkdir -p "$1/train/$class" "$1/val/$class"
        for ((i = 1; i <= $2; i++)); do
            cp "$IMAGES/${KINDS[kind++ % ${#KINDS[@]}]}.JPEG" "$1/train/$class/${class}_$i.JPEG"
        done
    done
    for ((i = 1; i <= 2 * ${#CLASSES[@]}; i++)); do
        class=${CLASSES[$(class_of $i)]}
        cp "$IMAGES/${KINDS[i % ${#KINDS[@]}]}.JPEG" "$1/val/$class/ILSVRC2012_val_$(printf %08d "$i").JPEG"
    done
}

# official_tars FOLDER TARS: the images of photographs as ImageNet is distributed.
official_tars() {
    local class i folder
    folder=$(realpath "$1")
    mkdir -p "$2/ILSVRC2012_devkit_t12/data"
    (
        cd "$2" || exit 1
        "$CHECKOUT/build/tests/stories/write_meta" >ILSVRC2012_devkit_t12/data/meta.mat
        for ((i = 1; i <= 2 * ${#CLASSES[@]}; i++)); do
            echo "${IDS[$(class_of $i)]}"
        done >ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt
        tar czf ILSVRC2012_devkit_t12.tar.gz ILSVRC2012_devkit_t12
        rm -r ILSVRC2012_devkit_t12
        for class in "${CLASSES[@]}"; do
            tar -cf "$class.tar" -C "$folder/train/$class" $(ls "$folder/train/$class")
        done
        tar cf ILSVRC2012_img_train.tar -- n*.tar
        rm -- n*.tar
        mkdir flat
        cp "$folder"/val/*/* flat
        tar cf ILSVRC2012_img_val.tar -C flat $(ls flat)
        rm -r flat
    )
}
