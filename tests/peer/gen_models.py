"""Writes the goldens in tests/goldens/models of which the official code cannot run a model, in the form of the others.

The official T2T code holds no plain ViT, and its class for T2T-ViT_c has the convolutions but not their forward pass: a
comment there says that three convolutions take the place of the rest. So these numbers come from t2t_torch.py, and the
float64 twins are the truth to measure against. Needed again only when the files' form changes.

    python3 gen_models.py tiny_vit | tiny_convolution [OFFICIAL]
    python3 gen_models.py t2t_vit_c_14              only the table of its parameters

OFFICIAL is a checkout of the official T2T-ViT code: then its class, with that forward pass, must have the same tensors and
give the same logits.
"""

import copy
import os
import sys

import numpy as np
import torch

import gen_activations
import t2t_torch
import tensors
from check_model import GOLDENS

BATCH = 2
TINY = dict(img_size=32, num_classes=10, embed_dim=32, num_heads=2)
CONFIGS = {
    "tiny_vit": dict(TINY, mlp_ratio=4.0, tokens_type="patch", splits=((8, 8, 0),), depth=2, qkv_bias=True,
                     norm_eps=1e-6),
    "tiny_convolution": dict(TINY, mlp_ratio=2.0, tokens_type="convolution", token_dim=16, depth=1),
}
CLASSES = {"tiny_vit": "VisionTransformer", "tiny_convolution": "T2T_ViT"}
CONVOLUTIONS = ("soft_split0", "soft_split1", "project")


def stage_names(config):
    if config.tokens_type == "patch":
        yield "patch_embed"
    else:
        yield from ("tokens_to_token." + name for name in CONVOLUTIONS)
    yield from (f"blocks.{i}" for i in range(config.depth))
    yield "norm"


def step(model, images, target):
    """Logits, loss and the outputs of the stages; leaves the gradients in the model."""
    stages, hooks = {}, []
    for name in stage_names(model.config):
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
    dim, side, channels, convolution = config.embed_dim, config.img_size, config.in_chans, 0
    for i, (kernel, stride, padding) in enumerate(config.splits):
        side = (side + 2 * padding - kernel) // stride + 1
        width = dim if i == len(config.splits) - 1 else config.token_dim
        convolution += side**2 * channels * kernel**2 * width
        channels = width
    tokens = side**2 + 1
    linear = config.depth * tokens * dim * dim * (4 + 2 * config.mlp_ratio) + dim * config.num_classes
    return int(linear), config.depth * 2 * tokens**2 * dim, convolution


def check_official(folder, config, model, images, logits):
    """Tensors one by one, and the logits with the forward pass that the class asks for."""
    def forward(self, x):
        for name in CONVOLUTIONS:
            x = self.get_submodule(name)(x)
        return x.flatten(2).transpose(1, 2)

    official = gen_activations.official_model(folder, config, model.state_dict())
    type(official.tokens_to_token).forward = forward
    with torch.no_grad():
        error = tensors.relative_max(official(images), logits)
    names = [list(m.state_dict()) for m in (official, model)]
    assert names[0] == names[1] and error < 1e-6, error
    print(f"the official class has the same {len(names[0])} tensors; its logits differ by {error:.1e}")


def statistics(model, twin):
    """The grad_stat.* tensors: one row per parameter, of zeros if it is not trained."""
    params, twins = dict(model.named_parameters()), dict(twin.named_parameters())
    gradient = lambda p: (torch.zeros_like(p) if p.grad is None else p.grad).detach()
    grads, truth = [gradient(p).double() for p in params.values()], [gradient(p) for p in twins.values()]
    index = torch.stack([tensors.labels(name + "#grad", 8, p.numel()) for name, p in params.items()])
    pick = lambda values: torch.stack([value.flatten()[row] for value, row in zip(values, index)])
    column = lambda function, *lists: torch.tensor([function(*row).item() for row in zip(*lists)], dtype=torch.float64)
    return {
        "trainable": torch.tensor([p.requires_grad for p in params.values()], dtype=torch.uint8),
        "l2": column(torch.norm, grads),
        "sum": column(torch.sum, grads),
        "l2_f64": column(torch.norm, truth),
        "sum_f64": column(torch.sum, truth),
        "index": index,
        "value": pick(grads).float(),
        "value_f64": pick(truth),
        "fp32_relative_l2_error": column(lambda a, b: (a - b).norm() / b.norm().clamp_min(1e-30), grads, truth),
    }


def write_table(golden, model):
    with open(f"{GOLDENS}/models/{golden}.params.tsv", "w") as file:
        file.write("index\tname\tshape\tnumel\ttrainable\tfill\tscale\tdecay\n")
        for i, (name, param) in enumerate(model.named_parameters()):
            kind, scale = tensors.fill_rule(name, tuple(param.shape))
            shape = "x".join(map(str, param.shape))
            if not param.requires_grad:
                kind, scale = "sinusoid", 0.0
            file.write(f"{i}\t{name}\t{shape}\t{param.numel()}\t{int(param.requires_grad)}\t{kind}\t{scale:.17g}\t"
                       f"{int(t2t_torch.decays(name, param))}\n")


def main():
    torch.set_num_threads(1)
    name = sys.argv[1]
    if name in t2t_torch.ZOO:
        write_table(name, t2t_torch.build(name))
        return
    config = t2t_torch.Config(fused=False, **CONFIGS[name])
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
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    if len(sys.argv) > 2:
        check_official(sys.argv[2], config, model, images, logits)
    golden = {"out.logits": logits, "out.loss": loss.reshape(1), "out.logits_f64": logits64, "out.loss_f64": loss64.reshape(1),
              "in.target": target, "act.l2": torch.stack([x.double().norm() for x in stages.values()]),
              "act.l2_f64": torch.stack([x.norm() for x in stages64.values()]),
              "act.sum_f64": torch.stack([x.sum() for x in stages64.values()])}
    if name == "tiny_vit":  # later files do without what no test reads
        golden |= {"act." + stage: value for stage, value in stages.items()}
    golden |= {"grad_stat." + key: value for key, value in stats.items()}
    golden |= {"grad." + key: p.grad for key, p in model.named_parameters() if p.requires_grad}
    head_dim = config.embed_dim // config.num_heads
    tensors.write(f"{GOLDENS}/models/{name}.safetensors", golden, {
        "config": dict(cls=CLASSES[name], **CONFIGS[name]),
        "img_size": str(config.img_size),
        "batch": str(BATCH),
        "num_classes": str(config.num_classes),
        "mode": "eval",
        "input": "fill('input') * 1.5",
        "loss": "label smoothing 0.1, mean over batch",
        "param_count": str(count),
        "trainable_param_count": str(trainable),
        "attention_scales": {f"blocks.{i}.attn": head_dim**-0.5 for i in range(config.depth)},
        "activation_order": list(stages),
        "param_order": f"state_dict order, see {name}.params.tsv",
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
    write_table(name, model)
    print(os.path.getsize(f"{GOLDENS}/models/{name}.safetensors"), "bytes, loss", loss64.item())


if __name__ == "__main__":
    main()
