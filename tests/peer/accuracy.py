"""Proof of accuracy: the official scripts and t2t, on the same images by the same recipe, several seeds each.

    T2T_OFFICIAL=DIR T2T_TIMM=DIR T2T_TIMM_LAMB=DIR tests/peer/run accuracy [--folder build/accuracy] [--recipes full transfer lamb]
                                                    [--seeds 5] [--sides t2t official] [--table]

official.py says how to have those three; RECIPES below says what is trained. Every run takes one thread. It is kept in
FOLDER/RECIPE/SIDE-SEED and found there the next time, so that a campaign can be ended and taken up again at any moment. Runs are
not compared with today's recipe: a changed one wants another folder. What the sides share are the images, the keys of the recipe, and
in `full` and `transfer` the file they begin with; each draws its random numbers itself.

At the end, and alone with --table: mean top-1 of each side, Welch's t-test and the 95 % interval of the difference; the exit status
is 1 if a difference is larger than half a point or the test tells the sides apart at 5 %.
"""

import argparse
import csv
import fcntl
import glob
import gzip
import json
import math
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys

import numpy as np
import torch
from PIL import Image

import tensors

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
T2T = os.path.abspath(os.environ.get("T2T", os.path.join(ROOT, "build", "t2t")))
TRAIN = 20480

# T2T-ViT at the quickstart's size, 0.2 M parameters, with the official three soft splits; accuracy_official.py has the same.
MODEL = {"model": "t2t_vit_7", "token_dim": 32, "embed_dim": 64, "depth": 4, "num_heads": 2, "mlp_ratio": 2}
HERE_ONLY = {"threads": 1, "workers": 0}

# Keys of t2t's configurations, which are the options of main.py. The rest are the defaults of both: the published recipe.
SHORT = {"img_size": 32, "epochs": 3, "warmup_epochs": 1, "warmup_lr": 1e-3, "cooldown_epochs": 0, "model_ema_decay": 0.99}
PLAIN = {"aa": "", "color_jitter": 0, "reprob": 0, "mixup": 0, "cutmix": 0, "scale": [0.6, 1.0]}
RECIPES = {
    # RandAugment, mixup, cutmix, erasing, smoothing, drop path, averaged weights. From weights trained before without these:
    # a start at random ends some points apart from seed to seed after so few epochs
    "full": {**SHORT, "num_classes": 10, "batch_size": 64, "lr": 1e-3, "warmup_lr": 5e-4},
    # LAMB, and averaged weights; light augmentation; each side begins at random weights of its own
    "lamb": {**SHORT, **PLAIN, "num_classes": 10, "batch_size": 128, "opt": "lamb", "opt_eps": 1e-6, "lr": 1e-2,
             "warmup_lr": 5e-3},
    # configs/finetune_cifar10.yaml, which is transfer_learning.py, from weights for five of the ten classes
    "transfer": {"img_size": 32, "num_classes": 10, "epochs": 3, "lr": 0.05},
}
CLASSES = {"begun": 10, "other_head": 5}  # the files that `full` and `transfer` begin with
PRETRAINING = {**SHORT, **PLAIN, "batch_size": 64, "lr": 3e-3, "seed": 1001}


def write_images(folder, source, classes):
    """Fashion-MNIST as PNG files, folder/train/CLASS and folder/val/CLASS: the first TRAIN images, and all test images."""
    for split, name, count in (("train", "train", TRAIN), ("val", "t10k", 10000)):
        with gzip.open(f"{source}/{name}-images-idx3-ubyte.gz") as file:
            pixels = np.frombuffer(file.read(), np.uint8, count * 784, 16).reshape(-1, 28, 28)
        with gzip.open(f"{source}/{name}-labels-idx1-ubyte.gz") as file:
            labels = np.frombuffer(file.read(), np.uint8, count, 8)
        for label in range(classes):
            os.makedirs(f"{folder}/{split}/{label}")
        for i in np.flatnonzero(labels < classes):
            Image.fromarray(pixels[i]).convert("RGB").save(f"{folder}/{split}/{labels[i]}/{i:05d}.png")


def find_official():
    """The scripts run in folders of their own, so that the paths have to be whole."""
    for variable in ("T2T_OFFICIAL", "T2T_TIMM", "T2T_TIMM_LAMB"):
        folder = os.environ.get(variable, "")
        if not os.path.isdir(folder):
            sys.exit(f"{variable} has to name a folder: see tests/peer/official.py")
        os.environ[variable] = os.path.abspath(folder)


def run(command, log, cwd=None):
    """Seconds of processor time that the command took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with open(log, "w") as file:
        status = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, cwd=cwd).returncode
    if status:
        sys.exit(f"accuracy: exit status {status}, see {log}: {' '.join(command)}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def prepare(folder, source):
    """The images, converted ones for t2t, and the files to begin with; one process at a time."""
    lock = open(f"{folder}/lock", "w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    for classes in CLASSES.values():
        images, data = f"{folder}/images{classes}", f"{folder}/data{classes}"
        if not os.path.exists(images):
            shutil.rmtree(f"{folder}/new", ignore_errors=True)
            write_images(f"{folder}/new", source, classes)
            os.rename(f"{folder}/new", images)
        if not os.path.exists(f"{data}/manifest.json"):
            run([T2T, "convert", images, data], f"{folder}/convert{classes}.log")
    for name, classes in CLASSES.items():
        if not os.path.exists(f"{folder}/{name}.safetensors"):
            pretrain(folder, name, classes)


def pretrain(folder, name, classes):
    """A file that t2t trains for so many classes, as a checkpoint of PyTorch, and what pth2safetensors makes of that."""
    shutil.rmtree(f"{folder}/{name}", ignore_errors=True)
    os.makedirs(f"{folder}/{name}")
    keys = {**MODEL, **PRETRAINING, **HERE_ONLY, "data": f"{folder}/data{classes}", "num_classes": classes}
    write_config(f"{folder}/{name}/config.yaml", keys)
    run([T2T, "train", f"{folder}/{name}/config.yaml", "--output", f"{folder}/{name}/run"], f"{folder}/{name}/log.txt")
    weights = tensors.read(f"{folder}/{name}/run/best.safetensors")[0]
    torch.save({"state_dict": weights, "state_dict_ema": weights}, f"{folder}/{name}.pth.tar")
    run([f"{ROOT}/tools/pth2safetensors", f"{folder}/{name}.pth.tar", f"{folder}/{name}.safetensors"], f"{folder}/{name}/pth.txt")


def write_config(path, keys):
    with open(path, "w") as file:
        file.writelines(f"{key}: {json.dumps(value)}\n" for key, value in keys.items())


# ---- one run of a side: its command, its accuracy


def script(*arguments):
    return [sys.executable, f"{HERE}/accuracy_official.py", *map(str, arguments)]


def main_command(images, keys, output, seed):
    options = []
    for key, value in keys.items():
        options += [f"--{key.replace('_', '-')}", *map(str, value if isinstance(value, list) else [value])]
    return script("main", seed, images, "--model", "t2t_vit_quickstart", "-j", 0, "--output", output, *options)


def official_command(folder, recipe, output, seed):
    keys = RECIPES[recipe]
    if recipe != "transfer":
        begun = {"initial_checkpoint": f"{folder}/begun.pth.tar"} if recipe == "full" else {}
        return main_command(f"{folder}/images10", {**keys, **begun}, output, seed)
    return script("transfer", seed, keys["epochs"], f"{folder}/images10", "--model", "t2t_vit_quickstart", "--lr", keys["lr"], "--b", 64,
                  "--img-size", keys["img_size"], "--transfer-learning", "True", "--transfer-model", f"{folder}/other_head.pth.tar")


def official_top1(recipe, output):
    """Of the last epoch, in per cent; main.py's is the averaged weights'."""
    if recipe != "transfer":
        return last_top1(glob.glob(f"{output}/train/*/summary.csv")[0])
    with open(f"{output}/log.txt") as file:
        tests = re.findall(r"Acc: [\d.]+% \((\d+)/10000\)", file.read())
    return int(tests[-1]) / 100


def last_top1(path):
    with open(path) as file:
        return float(list(csv.DictReader(file))[-1]["eval_top1"])


def t2t_command(folder, recipe, output, seed):
    keys = {"data": f"{folder}/data10", **MODEL, **RECIPES[recipe], **HERE_ONLY, "seed": seed}
    if recipe == "transfer":
        keys = {"base": f"{ROOT}/configs/finetune_cifar10.yaml", **keys, "crop_padding": keys["img_size"] // 8,
                "init_weights": f"{folder}/other_head.safetensors"}
    if recipe == "full":
        keys["init_weights"] = f"{folder}/begun.safetensors"
    write_config(f"{output}/recipe.yaml", keys)
    return [T2T, "train", f"{output}/recipe.yaml", "--output", f"{output}/run"]


def t2t_top1(recipe, output):
    return last_top1(f"{output}/run/summary.csv")


SIDES = {"official": (official_command, official_top1), "t2t": (t2t_command, t2t_top1)}


def one_run(folder, recipe, side, seed):
    """Top-1 and seconds of processor time; trains unless that is done."""
    output = f"{folder}/{recipe}/{side}-{seed}"
    if not os.path.exists(f"{output}/result.json"):
        shutil.rmtree(output, ignore_errors=True)
        os.makedirs(output)
        command, top1 = SIDES[side]
        command = command(folder, recipe, output, seed)
        seconds = run(command, f"{output}/log.txt", output)
        result = {"top1": top1(recipe, output), "seconds": seconds, "command": command}
        with open(f"{output}/new", "w") as file:
            json.dump(result, file)
        os.rename(f"{output}/new", f"{output}/result.json")
        print(f"{recipe:9} {side:9} seed {seed}: top-1 {result['top1']:.2f} %, {seconds:.0f} s", flush=True)


# ---- the table


def two_sided(t, freedom):
    """The probability that |Student's t| is larger: its density from t on, by Simpson's rule over x = t / (1 - u)."""
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(freedom * math.pi)
    t, n = abs(t), 20000
    u = np.arange(n + 1) / n
    with np.errstate(divide="ignore", invalid="ignore"):
        x = t + u / (1 - u)
        y = (1 + x * x / freedom) ** (-(freedom + 1) / 2) / (1 - u) ** 2
    y[-1] = 0
    weights = np.where(np.arange(n + 1) % 2, 4, 2)
    weights[0] = weights[-1] = 1
    return float(2 * scale * (y * weights).sum() / (3 * n))


def welch(a, b):
    """Difference of the means, the two-sided p of Welch's test, half the width of the 95 % interval of the difference."""
    parts = [statistics.variance(values) / len(values) for values in (a, b)]
    error = math.sqrt(sum(parts))
    freedom = sum(parts) ** 2 / sum(part**2 / (len(values) - 1) for part, values in zip(parts, (a, b)))
    low, high = 0.0, 1000.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if two_sided(middle, freedom) > 0.05 else (low, middle)
    difference = statistics.mean(a) - statistics.mean(b)
    return difference, two_sided(difference / error, freedom), high * error


def results(folder, recipe, side):
    files = glob.glob(f"{folder}/{recipe}/{side}-*/result.json")
    files.sort(key=lambda path: int(re.search(r"-(\d+)/result", path)[1]))
    return [json.load(open(file)) for file in files]


def table(folder, recipes):
    """Prints a Markdown table; 1 if a recipe's sides differ, or cannot be compared."""
    failed = 0
    print("| recipe | side | top-1 of each seed | mean, deviation | s of a run |\n| --- | --- | --- | --- | --- |")
    sides = {recipe: {side: results(folder, recipe, side) for side in SIDES} for recipe in recipes}
    for recipe in recipes:
        for side, runs in sides[recipe].items():
            top1 = [result["top1"] for result in runs]
            if len(top1) > 1:
                print(f"| {recipe} | {side} | {' '.join(f'{v:.2f}' for v in top1)} | {statistics.mean(top1):.2f}, "
                      f"{statistics.stdev(top1):.2f} | {statistics.mean(result['seconds'] for result in runs):.0f} |")
    print("\n| recipe | t2t - official | 95 % interval | p | |\n| --- | --- | --- | --- | --- |")
    for recipe in recipes:
        ours, theirs = ([result["top1"] for result in sides[recipe][side]] for side in ("t2t", "official"))
        if len(ours) < 2 or len(theirs) < 2:
            print(f"| {recipe} | | | | too few runs: {len(ours)} and {len(theirs)} |")
            failed = 1
            continue
        difference, p, half = welch(ours, theirs)
        good = abs(difference) <= 0.5 and p >= 0.05
        failed |= not good
        print(f"| {recipe} | {difference:+.2f} | {difference - half:+.2f} .. {difference + half:+.2f} | {p:.2f} | "
              f"{'no difference seen' if good else 'DIFFERENT'} |")
    return failed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", default=os.path.join(ROOT, "build", "accuracy"))
    parser.add_argument("--fashion-mnist", default="/usr/share/datasets/fashion-mnist", help="Debian's dataset-fashion-mnist")
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--table", action="store_true", help="train nothing")
    options = parser.parse_args()
    folder = os.path.abspath(options.folder)
    if not options.table:
        if "official" in options.sides:
            find_official()
        os.makedirs(folder, exist_ok=True)
        prepare(folder, options.fashion_mnist)
        for recipe in options.recipes:
            for seed in range(1, options.seeds + 1):
                for side in options.sides:
                    one_run(folder, recipe, side, seed)
    return table(folder, options.recipes)


if __name__ == "__main__":
    sys.exit(main())
