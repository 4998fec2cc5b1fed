"""Weights between PyTorch and t2t, both ways.

    python3 pth.py

In: checkpoints as PyTorch and timm's training scripts write them -> tools/pth2safetensors -> `t2t trace`, against the
same model's logits here; also in models of another image size. Out: what a short `t2t train` leaves behind loads with
strict=True and gives t2t's logits.
"""

import argparse
import collections
import math
import os
import subprocess
import sys
import tempfile

import torch
import torch.nn.functional as F

import program
import t2t_torch
import tensors
from report import Report
from trace import randomise, tiny, tiny_vit

CONVERTER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "pth2safetensors")
LOGITS = 1e-4


def convert(source, target, *options):
    done = subprocess.run([CONVERTER, *options, source, target], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"pth2safetensors: exit status {done.returncode}: {done.stderr.strip()}")


def random_model(config, seed):
    model = t2t_torch.build(config).eval()
    randomise(model, torch.Generator().manual_seed(seed))
    return model


def prefixed(state):
    """As DistributedDataParallel names its tensors."""
    return collections.OrderedDict(("module." + name, value) for name, value in state.items())


def checkpoint(state, ema):
    """A .pth.tar as timm's saver writes it during training: the optimizer, the arguments and scalars beside the weights."""
    trained = [torch.nn.Parameter(value.clone()) for value in state.values()]
    optimizer = torch.optim.AdamW(trained, lr=1e-3)
    for param in trained:
        param.grad = torch.ones_like(param)
    optimizer.step()
    return {"epoch": 7, "arch": "t2t_vit", "state_dict": state, "optimizer": optimizer.state_dict(), "version": 2,
            "args": argparse.Namespace(lr=1e-3, opt="adamw", mean=None, aa="rand-m9-mstd0.5-inc1"), "metric": 81.5,
            "state_dict_ema": ema}


def views(state):
    """The same values in storages that are shared, offset and transposed."""
    pool = torch.cat([value.flatten() for value in state.values()])
    result, offset = collections.OrderedDict(), 0
    for name, value in state.items():
        part = pool[offset:offset + value.numel()].view(value.shape)
        offset += value.numel()
        result[name] = part.t().contiguous().t() if value.dim() == 2 else part
    return result


def cases(raw, ema):
    """name: (object to save, the state dict that must come out, options of the converter)."""
    half = collections.OrderedDict((name, value.half()) for name, value in raw.items())
    brain = collections.OrderedDict((name, value.bfloat16()) for name, value in raw.items())
    doubles = collections.OrderedDict((name, value.double()) for name, value in raw.items())
    return {
        "weights.pth": (raw, raw, ()),
        "weights_fp16.pth": (half, half, ()),
        "weights_bf16.pth": (brain, brain, ()),
        "weights_fp64.pth": (doubles, raw, ()),
        "module_prefix.pth": (prefixed(raw), raw, ()),
        "views.pth": (views(raw), raw, ()),
        "plain_dict.pth": (dict(raw), raw, ()),
        "ema_is_chosen.pth.tar": (checkpoint(raw, ema), ema, ()),
        "raw_when_asked.pth.tar": (checkpoint(raw, ema), raw, ("--key", "state_dict")),
        "module_in_both.pth.tar": (checkpoint(prefixed(raw), prefixed(ema)), ema, ()),
        "only_state_dict.pth.tar": ({"state_dict": raw, "epoch": 1}, raw, ()),
        "published.pth.tar": ({"state_dict_ema": half}, half, ()),
    }


def check_in(report, label, config, folder, seed):
    model, other = random_model(config, seed), random_model(config, seed + 1)
    images = torch.randn(2, config.in_chans, config.img_size, config.img_size, generator=torch.Generator().manual_seed(seed))
    inputs = {"input": images, "target": torch.zeros(2, dtype=torch.int64)}
    for name, (saved, expected, options) in cases(model.state_dict(), other.state_dict()).items():
        try:
            torch.save(saved, f"{folder}/{name}")
            convert(f"{folder}/{name}", f"{folder}/weights.safetensors", *options)
            got = program.trace(folder, config, f"{folder}/weights.safetensors", inputs)["logits"]
        except RuntimeError as error:
            report.failed(f"{label} {name}", error)
            continue
        reader = t2t_torch.build(config).eval()
        reader.load_state_dict(expected, strict=True)
        with torch.no_grad():
            report.at_most(f"{label} {name}", tensors.relative_max(got, reader(images)), LOGITS)


class Evil:
    def __init__(self, victim):
        self.victim = victim

    def __reduce__(self):
        return os.mkdir, (self.victim,)


def check_refusal(report, folder):
    """A pickle that calls something must be refused, and nothing be called."""
    victim = f"{folder}/called"
    torch.save({"state_dict": Evil(victim)}, f"{folder}/evil.pth")
    try:
        convert(f"{folder}/evil.pth", f"{folder}/evil.safetensors")
        report.failed("evil.pth", "was accepted")
    except RuntimeError as error:
        report.at_most("evil.pth is refused, with a message", "Traceback" in str(error), 0)
    report.at_most("evil.pth called nothing", os.path.exists(victim) + os.path.exists(f"{folder}/evil.safetensors"), 0)


def resized(table, rows):
    """A position table for another image size: the class token's row, and the grid as PyTorch's bicubic makes it."""
    grid = table[:, 1:].unflatten(1, (math.isqrt(table.shape[1]), -1)).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=math.isqrt(rows), mode="bicubic", align_corners=False)
    return torch.cat([table[:, :1], grid.flatten(2).transpose(1, 2)], 1)


def check_resize(report, label, config, sides, folder):
    """Weights of one image size in a model of another, in the other direction too."""
    model = random_model(config, 1)
    tensors.write(f"{folder}/weights.safetensors", model.state_dict())
    for side in sides:
        other = t2t_torch.build(config, img_size=side).eval()
        state = model.state_dict()
        state["pos_embed"] = resized(state["pos_embed"], other.pos_embed.shape[1])
        other.load_state_dict(state, strict=True)
        images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(side))
        inputs = {"input": images, "target": torch.zeros(2, dtype=torch.int64)}
        try:
            got = program.trace(folder, other.config, f"{folder}/weights.safetensors", inputs)["logits"]
        except RuntimeError as error:
            report.failed(f"{label} at {side} pixels", error)
            continue
        with torch.no_grad():
            report.at_most(f"{label} {config.img_size} -> {side} pixels", tensors.relative_max(got, other(images)), LOGITS)


def train(folder, config, label):
    """The weights files of a run of a few steps."""
    data, run = f"{folder}/data", f"{folder}/run-{label}"
    if not os.path.exists(data):
        program.run("convert", "--synthetic", 64, data)
    program.write_config(f"{folder}/train.yaml", config, data=data, batch_size=16, epochs=1, warmup_epochs=0, cooldown_epochs=0,
                         threads=1, workers=1)
    program.run("train", f"{folder}/train.yaml", "--output", run)
    found = [os.path.join(path, name) for path, _, names in os.walk(run) for name in names
             if name in ("weights.safetensors", "ema.safetensors", "best.safetensors")]
    if not found:
        raise RuntimeError(f"{run} holds no weights")
    return sorted(found)


def check_out(report, label, config, folder):
    images = torch.randn(2, 3, config.img_size, config.img_size, generator=torch.Generator().manual_seed(1))
    inputs = {"input": images, "target": torch.zeros(2, dtype=torch.int64)}
    try:
        for path in train(folder, config, label):
            state, _ = tensors.read(path)
            model = t2t_torch.build(config).eval()
            model.load_state_dict(state, strict=True)
            got = program.trace(folder, config, path, inputs)["logits"]
            with torch.no_grad():
                report.at_most(f"{label} {os.path.relpath(path, folder)}", tensors.relative_max(got, model(images)), LOGITS)
    except RuntimeError as error:
        report.failed(f"{label}, written by t2t", error)


def main():
    report = Report()
    small = {"performer": tiny(), "vit": tiny_vit(), "ghost": tiny(variant="ghost", mlp_ratio=3.0)}
    with tempfile.TemporaryDirectory() as folder:
        for seed, (label, config) in enumerate(small.items()):
            check_in(report, label, config, folder, 10 * seed)
        check_in(report, "t2t_vit_7", t2t_torch.ZOO["t2t_vit_7"], folder, 100)
        check_refusal(report, folder)
        check_resize(report, "vit", tiny_vit(img_size=40), (24, 40, 64), folder)
        check_resize(report, "performer", tiny(img_size=64), (48, 96), folder)
        for label, config in small.items():
            check_out(report, label, config, folder)
    sys.exit(report.finish())


if __name__ == "__main__":
    main()
