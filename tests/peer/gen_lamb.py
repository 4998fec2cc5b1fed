"""Writes tests/goldens/ops/optim_lamb*.safetensors: five steps of timm's LAMB on the toy model of ops/optim_adamw.

timm ships LAMB since 0.5, so this needs a newer timm than the official code does; the numbers are of 0.5.4:

    pip install --no-deps --target DIR timm==0.5.4
    T2T_TIMM_LAMB=DIR tests/peer/run gen_lamb

Weights and gradients are those of ops/optim_adamw, the gradients times the factors of SCALES, so that the optimizer's own
clipping is at work in some steps and idle in others. Parameters of one dimension do not decay.
"""

import torch

import official
import tensors

GOLDENS = "tests/goldens/ops"
SCALES = [0.25, 50, 0.25, 50, 1]


def run(name, decay, rates):
    source, _ = tensors.read(f"{GOLDENS}/optim_adamw.safetensors")
    names = [key[len("init."):] for key in source if key.startswith("init.") and f"step0.grad.{key[5:]}" in source]
    model = {key: torch.nn.Parameter(source[f"init.{key}"].clone()) for key in names}
    with_decay = [key for key in names if model[key].ndim > 1 and key != "cls_token"]
    groups = [{"params": [model[key] for key in names if key not in with_decay], "weight_decay": 0.0},
              {"params": [model[key] for key in with_decay], "weight_decay": decay}]
    lamb, version = official.lamb()
    optimizer = lamb(groups, lr=rates[0], eps=1e-6)
    out = {}
    for step, rate in enumerate(rates):
        for group in optimizer.param_groups:
            group["lr"] = rate
        for key in names:
            model[key].grad = source[f"step{step}.grad.{key}"] * SCALES[step]
        out[f"norm{step}"] = torch.sqrt(sum(p.grad.double().pow(2).sum() for p in model.values())).reshape(1)
        optimizer.step()
        for key in names:
            out[f"step{step}.param.{key}"] = model[key].detach().clone()
    for key in names:
        out[f"step{len(rates) - 1}.exp_avg.{key}"] = optimizer.state[model[key]]["exp_avg"]
        out[f"step{len(rates) - 1}.exp_avg_sq.{key}"] = optimizer.state[model[key]]["exp_avg_sq"]
    metadata = {"timm": version, "weight_decay": str(decay), "lr": rates, "scales": SCALES}
    tensors.write(f"{GOLDENS}/{name}.safetensors", out, metadata)
    print(name, [round(out[f"norm{step}"].item(), 4) for step in range(len(rates))], "timm", version)


if __name__ == "__main__":
    run("optim_lamb", 0.05, [4e-3, 4e-3, 1e-3, 5e-2, 1e-5])
