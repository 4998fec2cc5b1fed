"""How far PyTorch's own bfloat16 (CPU autocast) leaves its float32 in the small training curves of tests/goldens/curves:
the limits of tests/core/model/test_model_curves.c.

    tests/peer/run bf16_spread [--threads N] [--curves NAME ...]

Each curve is 64 steps of AdamW on Fashion-MNIST from the goldens' weights. Compared with the golden's float64 run: the
largest difference of a step's loss (of the chaotic curve in its first 32 steps, for which the float32 test has a limit,
too), its mean, and the difference of the mean of the last 16. One run of bfloat16 is
one draw: autocast runs with attention fused and spelt out, each from weights moved by a rounding error of float32 (twelve
times), and the table's last line is the largest of these 24. The float32 run shows what of it is float32's own.
"""

import argparse
import gzip
import os

import numpy
import torch

import t2t_torch
import tensors

FOLDER = os.environ.get("FASHION_MNIST", "/usr/share/datasets/fashion-mnist")
STEPS, BATCH, IMAGES = 64, 64, 1024
CURVES = (("adamw_transformer", "transformer", 1e-3, 64), ("adamw_performer_lr2e-4", "performer", 2e-4, 64),
          ("adamw_performer", "performer", 1e-3, 32))


def read(name, header):
    with gzip.open(os.path.join(FOLDER, name)) as file:
        return numpy.frombuffer(file.read(), numpy.uint8, offset=header)


def load():
    pixels = read("train-images-idx3-ubyte.gz", 16)[: IMAGES * 784].reshape(IMAGES, 28, 28)
    padded = numpy.pad(pixels, ((0, 0), (2, 2), (2, 2))).astype(numpy.float64)
    images = ((padded / 255 - 0.5) / 0.5).astype(numpy.float32)
    labels = read("train-labels-idx1-ubyte.gz", 8)[:IMAGES].astype(numpy.int64)
    return torch.from_numpy(images)[:, None].repeat(1, 3, 1, 1), torch.from_numpy(labels)


def train(tokens_type, lr, images, labels, autocast, fused=True, seed=None):
    config = t2t_torch.Config(img_size=32, num_classes=10, embed_dim=64, depth=4, num_heads=2, mlp_ratio=2.0,
                              tokens_type=tokens_type, token_dim=64, token_dropout=0.0, fused=fused)
    model = t2t_torch.build(config)
    tensors.fill(model)
    if seed is not None:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for p in model.parameters():
                p.mul_(1 + 2**-23 * torch.randn(p.shape, generator=generator))
    groups = [{"params": [p for n, p in model.named_parameters() if p.requires_grad and t2t_torch.decays(n, p) == decay],
               "weight_decay": 0.05 * decay} for decay in (False, True)]
    optimizer = torch.optim.AdamW(groups, lr=lr)
    losses = []
    for step in range(STEPS):
        first = step % (IMAGES // BATCH) * BATCH
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            logits = model(images[first : first + BATCH])
        loss = t2t_torch.loss(logits.float(), labels[first : first + BATCH])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return numpy.array(losses)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--curves", nargs="+", default=[curve[0] for curve in CURVES])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    images, labels = load()
    print("| curve | run | largest | mean | of the last 16's mean |\n|---|---|---|---|---|")
    for name, tokens_type, lr, steps in CURVES:
        if name not in options.curves:
            continue
        golden = tensors.read(f"tests/goldens/curves/{name}.safetensors")[0]["loss_f64run"].numpy()
        most = (0, 0, 0)
        for run, how in [("float32", {}), *((f"autocast {'fused' if fused else 'spelt'} {seed}", {"fused": fused, "seed": seed})
                                                for fused in (True, False) for seed in range(12))]:
            losses = train(tokens_type, lr, images, labels, run != "float32", **how)
            off = numpy.abs(losses - golden)
            row = (off[:steps].max(), off.mean(), abs(losses[-16:].mean() - golden[-16:].mean()))
            if run != "float32":
                most = tuple(map(max, most, row))
            print(f"| {name} | {run} | " + " | ".join(f"{x:.2e}" for x in row) + " |", flush=True)
        print(f"| {name} | autocast, largest | " + " | ".join(f"{x:.2e}" for x in most) + " |", flush=True)


if __name__ == "__main__":
    main()
