"""Which rates LAMB wants: timm's and ours at the same rates on the same small task, AdamW beside them.

    PYTHONPATH=DIR tests/peer/run lamb_rates [--epochs N] [--images N] [--seeds N] [--lamb RATE ...] [--adamw RATE ...]

DIR has timm 0.5.4 (gen_lamb.py says how). The task is the quickstart's model on the first N images of Fashion-MNIST, plain
pixels, batches of 64, one epoch of warm-up and a cosine; PyTorch's model and pixels are those of t2t, its initial weights and
order are draws of their own. A line is the top-1 on 2,000 test images after the last epoch, of each seed.
"""

import argparse
import gzip
import json
import math
import os
import sys
import tempfile

import numpy
import torch
from PIL import Image

import gen_lamb
import program
import t2t_torch

FOLDER = os.environ.get("FASHION_MNIST", "/usr/share/datasets/fashion-mnist")
BATCH, TEST, WARMUP_LR, MIN_LR, DECAY, SMOOTHING, MEAN, STD = 64, 2000, 1e-6, 1e-5, 0.05, 0.05, 0.286, 0.353
CONFIG = t2t_torch.Config(img_size=32, num_classes=10, token_dim=32, splits=((3, 2, 1),) * 3, embed_dim=64, depth=4,
                          num_heads=2, mlp_ratio=2.0, token_dropout=0.0)


def load(split, count):
    def read(name, header):
        with gzip.open(f"{FOLDER}/{name}.gz") as file:
            return numpy.frombuffer(file.read(), numpy.uint8, offset=header)

    pixels = read(f"{split}-images-idx3-ubyte", 16)[: count * 784].reshape(count, 28, 28)
    large = numpy.stack([numpy.asarray(Image.fromarray(image).resize((32, 32), Image.BICUBIC)) for image in pixels])
    images = torch.from_numpy((large / 255 - MEAN) / STD).float()
    return images[:, None].repeat(1, 3, 1, 1), torch.from_numpy(read(f"{split}-labels-idx1-ubyte", 8)[:count].astype(int))


def rate(lr, epoch, epochs):
    if epoch < 1:
        return WARMUP_LR + epoch * (lr - WARMUP_LR)
    return MIN_LR + (lr - MIN_LR) * (1 + math.cos(math.pi * epoch / epochs)) / 2


def optimizer_of(opt, model, lr):
    groups = [{"params": [p for n, p in model.named_parameters() if p.requires_grad and t2t_torch.decays(n, p) == decay],
               "weight_decay": DECAY * decay} for decay in (False, True)]
    return gen_lamb.load_lamb()[0](groups, lr=lr, eps=1e-6) if opt == "lamb" else torch.optim.AdamW(groups, lr=lr)


def with_torch(opt, lr, seed, epochs, train, test):
    torch.manual_seed(seed)
    model = t2t_torch.build(CONFIG)
    optimizer, steps = optimizer_of(opt, model, lr), len(train[0]) // BATCH
    for epoch in range(epochs):
        order = torch.randperm(len(train[0]))
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = rate(lr, epoch + step / steps, epochs)
            part = order[step * BATCH : (step + 1) * BATCH]
            optimizer.zero_grad()
            t2t_torch.loss(model(train[0][part]), train[1][part], SMOOTHING).backward()
            optimizer.step()
    with torch.no_grad():
        return 100 * (model(test[0]).argmax(1) == test[1]).float().mean().item()


def with_t2t(folder, opt, lr, seed, epochs):
    keys = dict(data=f"{folder}/data", opt=opt, lr=lr, seed=seed, epochs=epochs, warmup_epochs=1, cooldown_epochs=0,
                warmup_lr=WARMUP_LR, min_lr=MIN_LR, weight_decay=DECAY, smoothing=SMOOTHING, batch_size=BATCH, clip_grad=0,
                sched_on_updates=True, no_aug=True, crop_pct=1.0, mean=[MEAN] * 3, std=[STD] * 3, mixup=0, cutmix=0,
                reprob=0, model_ema=False, threads=1, workers=0, **({"opt_eps": 1e-6} if opt == "lamb" else {}))
    run = f"{folder}/{opt}-{lr:g}-{seed}"
    program.write_config(f"{run}.yaml", CONFIG, **keys)
    program.run("train", f"{run}.yaml", "--output", run)
    with open(f"{run}/metrics.jsonl") as file:
        return [json.loads(line) for line in file if '"validation"' in line][-1]["top1"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--images", type=int, default=8192)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--lamb", type=float, nargs="*", default=[1e-3, 4e-3, 1e-2, 2e-2, 4e-2, 8e-2])
    parser.add_argument("--adamw", type=float, nargs="*", default=[5e-4, 1e-3, 3e-3])
    options = parser.parse_args()
    torch.set_num_threads(1)
    train, test = load("train", options.images), load("t10k", TEST)
    seeds = range(1, options.seeds + 1)
    show = lambda values: " ".join(f"{value:.1f}" for value in values)
    with tempfile.TemporaryDirectory() as folder:
        # The first images of the split, as PyTorch reads them: convert would shuffle before it counts.
        for split, count in (("train", options.images), ("t10k", TEST)):
            for name, header, size in (("images-idx3", 16, 784), ("labels-idx1", 8, 1)):
                with gzip.open(f"{FOLDER}/{split}-{name}-ubyte.gz") as file:
                    data = file.read()
                with open(f"{folder}/{split}-{name}-ubyte", "wb") as file:
                    file.write(data[:4] + count.to_bytes(4, "big") + data[8 : header + count * size])
        program.run("convert", folder, f"{folder}/data", "--encode", "png", "--threads", 1)
        print("| optimizer | rate | PyTorch, timm's LAMB | t2t |\n|---|---|---|---|", flush=True)
        for opt, rates in (("adamw", options.adamw), ("lamb", options.lamb)):
            for lr in rates:
                theirs = show([with_torch(opt, lr, seed, options.epochs, train, test) for seed in seeds])
                ours = show([with_t2t(folder, opt, lr, seed, options.epochs) for seed in seeds])
                print(f"| {opt} | {lr:g} | {theirs} | {ours} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
