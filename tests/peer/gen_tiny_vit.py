"""Writes tests/goldens/models/tiny_vit: a tiny ViT baseline in the form of the other whole-model goldens.

The official T2T code holds no plain ViT, so its numbers come from t2t_torch.py: the float64 twins are the truth to
measure against. Needed again only when the file's form changes.

    python3 gen_tiny_vit.py
"""

import copy
import os

import numpy as np
import torch

import t2t_torch
import tensors
from check_model import GOLDENS

NAME, BATCH = "tiny_vit", 2
CONFIG = dict(img_size=32, num_classes=10, embed_dim=32, num_heads=2, mlp_ratio=4.0, tokens_type="patch",
              splits=((8, 8, 0),), depth=2, qkv_bias=True, norm_eps=1e-6)


def step(model, images, target):
    """Logits, loss and the outputs of the stages; leaves the gradients in the model."""
    stages, hooks = {}, []
    for name in ("patch_embed", *(f"blocks.{i}" for i in range(CONFIG["depth"])), "norm"):
        hooks.append(model.get_submodule(name).register_forward_hook(
            lambda _module, _input, output, name=name: stages.update({name: output.detach()})))
    logits = model(images)
    loss = t2t_torch.loss(logits, target)
    loss.backward()
    for hook in hooks:
        hook.remove()
    return logits.detach(), loss.detach(), stages


def macs(config):
    """Multiply-accumulates per image: linear, attention, convolution."""
    dim, side = config.embed_dim, config.img_size // config.splits[0][0]
    tokens = side**2 + 1
    linear = config.depth * tokens * dim * dim * (4 + 2 * config.mlp_ratio) + dim * config.num_classes
    return int(linear), config.depth * 2 * tokens**2 * dim, config.in_chans * config.img_size**2 * dim


def statistics(model, twin):
    """The grad_stat.* tensors: one row per parameter."""
    params, twins = dict(model.named_parameters()), dict(twin.named_parameters())
    grads, truth = [p.grad.double() for p in params.values()], [p.grad for p in twins.values()]
    index = torch.stack([tensors.labels(name + "#grad", 8, p.numel()) for name, p in params.items()])
    pick = lambda values: torch.stack([value.flatten()[row] for value, row in zip(values, index)])
    column = lambda function, *lists: torch.tensor([function(*row).item() for row in zip(*lists)], dtype=torch.float64)
    return {
        "trainable": torch.ones(len(grads), dtype=torch.uint8),
        "l2": column(torch.norm, grads),
        "sum": column(torch.sum, grads),
        "l2_f64": column(torch.norm, truth),
        "sum_f64": column(torch.sum, truth),
        "index": index,
        "value": pick(grads).float(),
        "value_f64": pick(truth),
        "fp32_relative_l2_error": column(lambda a, b: (a - b).norm() / b.norm(), grads, truth),
    }


def write_table(model):
    with open(f"{GOLDENS}/models/{NAME}.params.tsv", "w") as file:
        file.write("index\tname\tshape\tnumel\ttrainable\tfill\tscale\tdecay\n")
        for i, (name, param) in enumerate(model.named_parameters()):
            kind, scale = tensors.fill_rule(name, tuple(param.shape))
            shape = "x".join(map(str, param.shape))
            file.write(f"{i}\t{name}\t{shape}\t{param.numel()}\t1\t{kind}\t{scale:.17g}\t"
                       f"{int(t2t_torch.decays(name, param))}\n")


def main():
    torch.set_num_threads(1)
    config = t2t_torch.Config(fused=False, **CONFIG)
    model = t2t_torch.build(config).eval()
    tensors.fill(model)
    twin = copy.deepcopy(model).double()
    images = tensors.images(BATCH, config.img_size)
    target = tensors.labels("target", BATCH, config.num_classes)
    logits, loss, stages = step(model, images, target)
    logits64, loss64, stages64 = step(twin, images.double(), target)

    stats = statistics(model, twin)
    worst = stats["fp32_relative_l2_error"].argmax().item()
    names = list(model.state_dict())
    linear, attention, conv = macs(config)
    count = sum(p.numel() for p in model.parameters())
    golden = {"out.logits": logits, "out.loss": loss.reshape(1), "out.logits_f64": logits64, "out.loss_f64": loss64.reshape(1),
              "in.target": target, "act.l2": torch.stack([x.double().norm() for x in stages.values()]),
              "act.l2_f64": torch.stack([x.norm() for x in stages64.values()]),
              "act.sum_f64": torch.stack([x.sum() for x in stages64.values()])}
    golden |= {"act." + name: value for name, value in stages.items()}
    golden |= {"grad_stat." + name: value for name, value in stats.items()}
    golden |= {"grad." + name: p.grad for name, p in model.named_parameters()}
    head_dim = config.embed_dim // config.num_heads
    tensors.write(f"{GOLDENS}/models/{NAME}.safetensors", golden, {
        "config": dict(cls="VisionTransformer", **CONFIG),
        "img_size": str(config.img_size),
        "batch": str(BATCH),
        "num_classes": str(config.num_classes),
        "mode": "eval",
        "input": "fill('input') * 1.5",
        "loss": "label smoothing 0.1, mean over batch",
        "param_count": str(count),
        "trainable_param_count": str(count),
        "attention_scales": {f"blocks.{i}.attn": head_dim**-0.5 for i in range(config.depth)},
        "activation_order": list(stages),
        "param_order": f"state_dict order, see {NAME}.params.tsv",
        "fp32_noise": {
            "logits": tensors.relative_max(logits, logits64),
            "loss": (abs(loss - loss64) / loss64).item(),
            "grad_rel_l2_worst": stats["fp32_relative_l2_error"][worst].item(),
            "grad_rel_l2_worst_name": names[worst],
            "global_grad_norm_f64": stats["l2_f64"].norm().item(),
        },
        "macs_linear": str(linear),
        "macs_attention": str(attention),
        "macs_conv": str(conv),
        "torch": torch.__version__,
        "numpy": np.__version__,
    })
    write_table(model)
    print(os.path.getsize(f"{GOLDENS}/models/{NAME}.safetensors"), "bytes, loss", loss64.item())


if __name__ == "__main__":
    main()
