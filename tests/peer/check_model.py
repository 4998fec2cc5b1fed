"""t2t_torch.py against the goldens: operations, whole models, their names and shapes. Prints one line per case.

    python3 check_model.py [PREFIX ...]     only the cases whose name starts so: ops, models, models/tiny
"""

import dataclasses
import glob
import json
import os
import sys

import torch
import torch.nn.functional as F
from torch import nn

import t2t_torch
import tensors
from report import Report

GOLDENS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "goldens")

# Limits of tests/goldens/README.md for a float32 build.
LOGITS, LOSS, GRADIENT = 1e-5, 1e-5, 1e-4


def op_module(case):
    """The module that an ops/ file is a case of, with its parameters' names."""

    def config(dim, heads=1, **other):
        return t2t_torch.Config(embed_dim=dim, num_heads=heads, **other)

    def block(dim, heads, ratio, kind=t2t_torch.Block, **other):
        return kind(dim, 0.0, config(dim, heads, mlp_ratio=ratio, **other))

    return {
        "token_performer_147_64": lambda: t2t_torch.TokenPerformer(147, 64, config(64)),
        "token_performer_72_24": lambda: t2t_torch.TokenPerformer(72, 24, config(24)),
        "token_transformer_147_64": lambda: t2t_torch.TokenTransformer(147, 64, config(64)),
        "token_transformer_72_24": lambda: t2t_torch.TokenTransformer(72, 24, config(24)),
        "mha_d64_h4": lambda: t2t_torch.Attention(64, config(64, 4)),
        "mha_d64_h4_qkscale": lambda: t2t_torch.Attention(64, config(64, 4, qk_scale=64**-0.5)),
        "mha_d64_h4_qkvbias": lambda: t2t_torch.Attention(64, config(64, 4, qkv_bias=True)),
        "mha_d96_h8": lambda: t2t_torch.Attention(96, config(96, 8)),
        "mlp": lambda: t2t_torch.Mlp(32, 96),
        "block_d32_h2": lambda: block(32, 2, 3.0),
        "se_layer": lambda: t2t_torch.SqueezeExcite(48),
        "se_attention": lambda: t2t_torch.Attention(48, config(48, 3, variant="se")),
        "ghost_attention": lambda: t2t_torch.GhostAttention(48, config(48, 3)),
        "ghost_attention_qkvbias": lambda: t2t_torch.GhostAttention(48, config(48, 3, qkv_bias=True)),
        "ghost_mlp": lambda: t2t_torch.GhostMlp(32, 96),
        "dense_block": lambda: block(32, 4, 2.0, t2t_torch.DenseBlock, growth_rate=16),
        "dense_transition": lambda: t2t_torch.Transition(48),
        "dense_block_then_transition": lambda: nn.Sequential(
            block(32, 4, 2.0, t2t_torch.DenseBlock, growth_rate=16), t2t_torch.Transition(48)),
    }[case]()


def check_op(report, case):
    golden, _ = tensors.read(f"{GOLDENS}/ops/{case}.safetensors")
    module = op_module(case).eval()
    params = {name[6:]: value for name, value in golden.items() if name.startswith("param.")}
    module.load_state_dict(params, strict=True)
    x = golden["in.x"].requires_grad_()
    y = module(x)
    y.backward(golden["grad_out"])
    report.at_most(f"ops/{case} output", tensors.relative_max(y, golden["out.y"]), LOGITS)
    worst = tensors.gradient_error(x.grad, golden["grad.x"])
    for name, param in module.named_parameters():
        if param.requires_grad:
            worst = max(worst, tensors.gradient_error(param.grad, golden["grad." + name]))
    report.at_most(f"ops/{case} gradients", worst, GRADIENT)


def check_loss(report, case):
    golden, _ = tensors.read(f"{GOLDENS}/ops/{case}.safetensors")
    x = golden["in.x"].requires_grad_()
    loss = t2t_torch.loss(x, golden["in.target"], 0.0 if "cross_entropy" in case else 0.1)
    loss.backward()
    report.at_most(f"ops/{case}", abs(loss.item() - golden["out.loss_f64"].item()), LOSS)
    report.at_most(f"ops/{case} gradient", tensors.gradient_error(x.grad, golden["grad.x_f64"]), GRADIENT)


def check_unfold(report, case):
    golden, _ = tensors.read(f"{GOLDENS}/ops/{case}.safetensors")
    kernel, stride, padding = (int(digit) for digit in case.removeprefix("unfold_").split("_")[0][1::2])
    y = F.unfold(golden["in.x"], kernel, padding=padding, stride=stride).transpose(1, 2)
    report.at_most(f"ops/{case}", (y - golden["out.y"]).abs().max().item(), 0)


def check_positions(report, case):
    golden, _ = tensors.read(f"{GOLDENS}/ops/{case}.safetensors")
    for rows, dim in ((5, 32), (17, 48), (197, 64)):
        table = t2t_torch.sinusoids(rows, dim)
        report.at_most(f"ops/{case} {rows}x{dim}", (table - golden[f"n{rows}_d{dim}"]).abs().max().item(), 1e-7)


def golden_config(metadata):
    """The Config of a models/ file: a zoo name, or the constructor's arguments as the reference spells them."""
    given = json.loads(metadata["config"])
    if "factory" in given:
        return dataclasses.replace(t2t_torch.ZOO[given["factory"]], img_size=given["img_size"])
    variant = {"T2T_ViT_SE": "se", "T2T_ViT_Ghost": "ghost", "T2T_ViT_Dense": "dense"}.get(given.pop("cls"), "plain")
    for key in ("block_config", "splits"):
        if key in given:
            given[key] = tuple(tuple(item) if isinstance(item, list) else item for item in given[key])
    return t2t_torch.Config(variant=variant, **given)


def check_table(report, name, model):
    """Names, shapes, order, what is trained and what decays: exact."""
    with open(f"{GOLDENS}/models/{name}.params.tsv") as file:
        rows = [line.rstrip("\n").split("\t") for line in file][1:]
    want = [(row[1], row[2], row[4] == "1", row[7] == "1") for row in rows]
    got = [(key, "x".join(map(str, value.shape)), value.requires_grad, t2t_torch.decays(key, value))
           for key, value in model.named_parameters()]
    order = list(model.state_dict()) == [row[0] for row in want]
    report.at_most(f"models/{name} table of parameters", len(set(got) ^ set(want)) + (not order), 0)


def check_model(report, name):
    golden, metadata = tensors.read(f"{GOLDENS}/models/{name}.safetensors")
    config = golden_config(metadata)
    batch = int(metadata["batch"])
    model = t2t_torch.build(config).eval()
    tensors.fill(model)
    check_table(report, name, model)

    gradients = "grad_stat.l2" in golden
    with torch.set_grad_enabled(gradients):
        logits = model(tensors.images(batch, config.img_size))
        loss = t2t_torch.loss(logits, tensors.labels("target", batch, config.num_classes))
    report.at_most(f"models/{name} logits", tensors.relative_max(logits, golden["out.logits_f64"]), LOGITS)
    report.at_most(f"models/{name} loss", abs(loss.item() - golden["out.loss_f64"].item()), LOSS)
    if not gradients:
        return
    loss.backward()
    norms = samples = full = 0.0
    for i, (key, param) in enumerate(model.named_parameters()):
        if not param.requires_grad:
            continue
        grad, norm = param.grad.double().flatten(), golden["grad_stat.l2_f64"][i]
        scale = norm.clamp_min(tensors.SMALL_NORM)
        sampled = grad[golden["grad_stat.index"][i]] - golden["grad_stat.value_f64"][i]
        norms = max(norms, tensors.number((grad.norm() - norm).abs() / scale))
        samples = max(samples, tensors.number(sampled.abs().max() / scale))
        if "grad." + key in golden:
            full = max(full, tensors.gradient_error(param.grad, golden["grad." + key]))
    report.at_most(f"models/{name} norms of gradients", norms, GRADIENT)
    report.at_most(f"models/{name} sampled gradients", samples, GRADIENT)
    if "grad.head.weight" in golden:
        report.at_most(f"models/{name} gradients", full, GRADIENT)


def cases(folder):
    return sorted(f"{folder}/{os.path.basename(path)[:-12]}" for path in glob.glob(f"{GOLDENS}/{folder}/*.safetensors"))


# Other files of ops/ hold what PyTorch has no part in, or its own operations.
CHECKS = {
    "ops/unfold_k": check_unfold,
    "ops/pos_embed": check_positions,
    "ops/loss_": check_loss,
    **dict.fromkeys(("ops/token_performer", "ops/token_transformer", "ops/mha", "ops/mlp", "ops/block", "ops/se_",
                     "ops/ghost", "ops/dense"), check_op),
    "models/": check_model,
}


def main():
    wanted = tuple(sys.argv[1:]) or ("",)
    report = Report()
    for case in cases("ops") + cases("models"):
        for prefix, check in CHECKS.items():
            if case.startswith(prefix) and case.startswith(wanted):
                check(report, case.split("/")[1])
    sys.exit(report.finish())


if __name__ == "__main__":
    main()
