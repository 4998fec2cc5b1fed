"""Writes tests/goldens/activations: what tiny models compute on their way, for `t2t trace --activations` and `t2t visualize`.

A line per activation: model, name of the module, rows, columns, and in float64 the sum, the Euclidean norm and the dot
product with the deterministic fill of that name; then the class token's attention and the rollout, number by number.

    python3 gen_activations.py [OFFICIAL]

OFFICIAL is a checkout of the official T2T-ViT code: then the same numbers are taken from its modules by forward hooks,
and must agree with t2t_torch.py's.
"""

import math
import os
import sys
import types

import torch
import torch.nn.functional as F
from torch import nn

import t2t_torch
import tensors
from check_model import GOLDENS

TINY = dict(img_size=32, num_classes=10, embed_dim=32, num_heads=2, mlp_ratio=2.0, token_dim=32, depth=2, fused=False)
MODELS = {
    "tiny_transformer": dict(TINY, tokens_type="transformer"),
    "tiny_performer": dict(TINY, tokens_type="performer"),
}


def hook(model, outputs, wanted):
    for name, module in model.named_modules():
        if wanted(name):
            module.register_forward_hook(lambda _m, _i, out, name=name: outputs.update({name: out.detach()}))


def wanted(name):
    parts = name.split(".")
    if parts[0] == "tokens_to_token" and len(parts) > 1:
        rest = ".".join(parts[1:])
        return rest in ("attention1", "attention2", "attention1.kqv", "attention2.kqv", "attention1.attn.qkv",
                        "attention2.attn.qkv") or rest.startswith("soft_split")
    return parts[0] == "blocks" and ".".join(parts[2:]) in ("", "attn.qkv", "mlp.fc1") and len(parts) > 1 or name == "pos_drop"


def own_activations(config, images):
    """t2t_torch has no modules for the soft splits and the positions: they are computed from what the hooks give."""
    model = t2t_torch.build(config).eval()
    tensors.fill(model)
    model, outputs = model.double(), {}
    hook(model, outputs, wanted)
    with torch.no_grad():
        model(images)
    for i, (kernel, stride, padding) in enumerate(config.splits):
        grid = images
        if i > 0:
            tokens = outputs[f"tokens_to_token.attention{i}"]
            grid = tokens.transpose(1, 2).unflatten(-1, (math.isqrt(tokens.shape[1]), -1))
        outputs[f"tokens_to_token.soft_split{i}"] = F.unfold(grid, kernel, padding=padding, stride=stride)
    project = model.tokens_to_token.project(outputs["tokens_to_token.soft_split2"].transpose(1, 2))
    cls = model.cls_token.expand(len(images), -1, -1)
    outputs["pos_drop"] = (torch.cat([cls, project], 1) + model.pos_embed).detach()
    return model, outputs


def official_model(folder, config, state):
    """The official class with these weights. What it imports of timm is used for training alone, or by other models."""
    def module(name, **members):
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name]).update(members)

    nothing = lambda *args, **kwargs: None
    module("timm"), module("timm.models")
    module("timm.models.helpers", load_pretrained=nothing)
    module("timm.models.registry", register_model=lambda function: function)
    module("timm.models.layers", trunc_normal_=nothing, DropPath=nn.Identity)
    sys.path.insert(0, folder)
    from models.t2t_vit import T2T_ViT
    model = T2T_ViT(img_size=config.img_size, tokens_type=config.tokens_type, num_classes=config.num_classes,
                    embed_dim=config.embed_dim, depth=config.depth, num_heads=config.num_heads,
                    mlp_ratio=config.mlp_ratio, token_dim=config.token_dim).eval()
    model.load_state_dict(state, strict=True)
    return model


def official_activations(folder, config, images, state):
    """The same from the official modules, in float32, since the performer's insist on it."""
    model, outputs = official_model(folder, config, state), {}
    hook(model, outputs, wanted)
    with torch.no_grad():
        model(images.float())
    return outputs


def attention_of(qkv, heads):
    """(heads, T, T) of one image."""
    tokens, width = qkv.shape[0], qkv.shape[1] // 3 // heads
    q, k, _ = qkv.reshape(tokens, 3, heads, width).permute(1, 2, 0, 3)
    return (q @ k.transpose(1, 2) * width**-0.5).softmax(-1)


def rollout_of(weights):
    total = torch.eye(weights[0].shape[-1], dtype=torch.float64)
    for block in weights:
        mixed = (block.mean(0) + torch.eye(len(total), dtype=torch.float64)) / 2
        total = mixed / mixed.sum(-1, keepdim=True) @ total
    return total


def lines_of(name, config, outputs):
    for key in sorted(outputs):
        value = outputs[key][0]
        if "soft_split" in key:
            value = value.transpose(0, 1)
        dot = (value * tensors.unit("activation." + key, tuple(value.shape))).sum()
        yield f"{name}\t{key}\t{value.shape[0]}\t{value.shape[1]}\t{value.sum():.12g}\t{value.norm():.12g}\t{dot:.12g}"
    weights = [attention_of(outputs[f"blocks.{i}.attn.qkv"][0], config.num_heads) for i in range(config.depth)]
    for i, block in enumerate(weights):
        for head in range(config.num_heads):
            yield f"{name}\tattention.{i}.{head}\t" + "\t".join(f"{x:.9g}" for x in block[head, 0])
    yield f"{name}\trollout\t" + "\t".join(f"{x:.9g}" for x in rollout_of(weights)[0])


def main():
    lines = []
    for name, keys in MODELS.items():
        config = t2t_torch.Config(**keys)
        images = tensors.images(1, config.img_size).double()
        model, outputs = own_activations(config, images)
        lines += lines_of(name, config, outputs)
        if len(sys.argv) > 1:
            official = official_activations(sys.argv[1], config, images, {k: v.float() for k, v in model.state_dict().items()})
            assert sorted(official) == sorted(outputs), (sorted(official), sorted(outputs))
            worst = max(tensors.relative_max(outputs[key], official[key]) for key in official)
            print(f"{name}: {len(official)} activations, the official modules' differ by {worst:.1e} at most")
            assert worst < 1e-5
    folder = f"{GOLDENS}/activations"
    os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/tiny.tsv", "w") as file:
        file.write("\n".join(lines) + "\n")
    print(len(lines), "lines")


if __name__ == "__main__":
    main()
