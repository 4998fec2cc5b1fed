"""Random weights and inputs through `t2t trace` and through PyTorch in float64: logits, loss and every gradient.

    python3 trace.py [--full] [--seed N] [NAME ...]

Small models of every kind and shape option, then published ones at full size (--full: all of them). Each line shows
t2t's error; in brackets that of PyTorch in float32, measured against the same float64 run.
"""

import argparse
import copy
import sys
import tempfile
import zlib

import torch

import program
import t2t_torch
import tensors
from report import Report

LOGITS, LOSS, GRADIENT = 1e-5, 1e-5, 1e-4


def tiny(**changes):
    given = dict(img_size=32, num_classes=10, embed_dim=32, depth=2, num_heads=2, mlp_ratio=2.0, token_dim=16)
    return t2t_torch.Config(**{**given, **changes})


def tiny_vit(**changes):
    return tiny(**{"tokens_type": "patch", "splits": ((8, 8, 0),), "mlp_ratio": 4.0, "qkv_bias": True, "norm_eps": 1e-6,
                   "token_dim": 0, "token_dropout": 0.0, **changes})


DENSE = dict(variant="dense", depth=12, growth_rate=16, block_config=(2, 2))

# name: Config, batch, how the target is given
SMALL = {
    "performer": (tiny(), 3, "labels"),
    "performer_qkv_bias": (tiny(qkv_bias=True), 2, "labels"),
    "performer_soft_target": (tiny(num_classes=1000), 2, "soft"),
    "performer_no_smoothing": (tiny(), 2, "unsmoothed"),
    "performer_img64": (tiny(img_size=64), 1, "labels"),
    "performer_token_dim_64": (tiny(token_dim=64), 5, "labels"),
    "performer_qk_scale": (tiny(qk_scale=0.3), 2, "labels"),
    "performer_splits": (tiny(img_size=28, splits=((3, 1, 1), (3, 2, 1), (3, 2, 1))), 2, "labels"),
    "performer_thin_heads": (tiny(embed_dim=48, num_heads=16), 2, "labels"),
    "performer_odd_widths": (tiny(embed_dim=36, num_heads=3, token_dim=20, mlp_ratio=1.5, num_classes=7), 3, "labels"),
    "transformer": (tiny(tokens_type="transformer"), 3, "labels"),
    "transformer_qkv_bias": (tiny(tokens_type="transformer", qkv_bias=True, img_size=48), 2, "soft"),
    "transformer_qk_scale": (tiny(tokens_type="transformer", qk_scale=0.3, token_dim=24), 2, "labels"),
    "convolution": (tiny(tokens_type="convolution"), 11, "labels"),
    "convolution_splits": (tiny(tokens_type="convolution", img_size=28, token_dim=20, qkv_bias=True,
                                splits=((3, 1, 1), (3, 2, 1), (3, 2, 1))), 2, "soft"),
    "se": (tiny(variant="se"), 3, "labels"),
    "se_transformer": (tiny(variant="se", tokens_type="transformer", embed_dim=64), 2, "soft"),
    "ghost": (tiny(variant="ghost", mlp_ratio=3.0), 3, "labels"),
    "ghost_qkv_bias": (tiny(variant="ghost", mlp_ratio=3.0, qkv_bias=True), 2, "soft"),
    "dense": (tiny(**DENSE), 3, "labels"),
    "dense_qkv_bias": (tiny(**{**DENSE, "block_config": (1, 2, 1)}, qkv_bias=True), 2, "soft"),
    "vit": (tiny_vit(), 3, "labels"),
    "vit_no_bias": (tiny_vit(qkv_bias=False, norm_eps=1e-5, img_size=40), 2, "soft"),
}

CHOSEN = ("t2t_vit_7", "t2t_vit_14", "t2t_vit_t_14", "t2t_vit_c_14", "t2t_vit_14_resnext", "t2t_vit_14_wide", "t2t_vit_dense",
          "t2t_vit_16_ghost", "t2t_vit_14_se", "vit_small_patch16")


def randomise(model, generator):
    """Random tensors of the fill's scales, `w` and the learned positions included."""
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if name == "pos_embed" and not tensor.requires_grad:
                continue
            kind, scale = tensors.fill_rule(name, tuple(tensor.shape))
            tensor.uniform_(-scale, scale, generator=generator)
            if kind == "one_plus":
                tensor += 1


def random_target(how, batch, classes, generator):
    if how == "soft":
        return {"soft_target": torch.rand(batch, classes, generator=generator).softmax(-1)}
    return {"target": torch.randint(classes, (batch,), generator=generator)}


def run_torch(model, images, target, smoothing):
    """{name: tensor} as `t2t trace` writes them."""
    model.zero_grad()
    logits = model(images)
    loss = t2t_torch.loss(logits, target.to(images.dtype) if target.is_floating_point() else target, smoothing)
    loss.backward()
    grads = {"grad." + name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    return {"logits": logits.detach(), "loss": loss.detach().reshape(1), **grads}


def errors(got, want):
    """Of logits, loss, and the worst gradient with its name; names and shapes must be the same."""
    if {name: value.shape for name, value in got.items()} != {name: value.shape for name, value in want.items()}:
        differing = sorted(name for name in got.keys() | want.keys()
                           if name not in got or name not in want or got[name].shape != want[name].shape)
        raise RuntimeError(f"names or shapes differ: {' '.join(differing[:8])}")
    worst, name = max((tensors.gradient_error(got[name], want[name]), name) for name in want if name.startswith("grad."))
    loss = abs(got["loss"].item() - want["loss"].item())
    return tensors.relative_max(got["logits"], want["logits"]), loss, worst, name


def check(report, name, config, batch, how, seed):
    generator = torch.Generator().manual_seed(seed + zlib.crc32(name.encode()))
    model = t2t_torch.build(config).eval()
    randomise(model, generator)
    images = torch.randn(batch, config.in_chans, config.img_size, config.img_size, generator=generator)
    target = random_target(how, batch, config.num_classes, generator)
    smoothing = 0.0 if how == "unsmoothed" else 0.1
    with tempfile.TemporaryDirectory() as folder:
        tensors.write(f"{folder}/weights.safetensors", model.state_dict())
        got = program.trace(folder, config, f"{folder}/weights.safetensors", {"input": images, **target},
                            smoothing=smoothing)
    (target,) = target.values()
    torch32 = run_torch(model, images, target, smoothing)
    truth = run_torch(copy.deepcopy(model).double(), images.double(), target, smoothing)
    ours, theirs = errors(got, truth), errors(torch32, truth)
    report.at_most(f"{name} logits (PyTorch {theirs[0]:.1e})", ours[0], LOGITS)
    report.at_most(f"{name} loss (PyTorch {theirs[1]:.1e})", ours[1], LOSS)
    report.at_most(f"{name} {ours[3]} (PyTorch {theirs[2]:.1e})", ours[2], GRADIENT)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", help="only these cases")
    parser.add_argument("--full", action="store_true", help="every published model, not only one of each kind")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    published = {name: (config, 2, "labels") for name, config in t2t_torch.ZOO.items()}
    cases = {**SMALL, **(published if options.full else {name: published[name] for name in CHOSEN})}
    if options.names:
        cases = {name: {**SMALL, **published}[name] for name in options.names}
    report = Report()
    for name, (config, batch, how) in cases.items():
        try:
            check(report, name, config, batch, how, options.seed)
        except RuntimeError as error:
            report.failed(name, error)
    sys.exit(report.finish())


if __name__ == "__main__":
    main()
