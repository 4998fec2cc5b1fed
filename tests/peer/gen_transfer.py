"""Writes tests/goldens/curves/sgd_transfer.safetensors: the official transfer learning's loop on the model of curves/.

The optimizer, its three groups, the schedule and the loss are set up as transfer_learning.py does; the model is the
official one with the goldens' fill, images and batches are those of the other curves (64 steps: four epochs of 16), so
the cosine ends after four epochs. Dropout is off, as in the other curves. official.py says what it needs.
"""

import gzip

import numpy as np
import torch

import official
import tensors

official.load()
from models.t2t_vit import T2T_ViT  # noqa: E402

FOLDER = "/usr/share/datasets/fashion-mnist/train"
LR, RATIO, DECAY, MOMENTUM, MIN_LR, EPOCHS, STEPS, BATCH = 0.05, 0.01, 5e-4, 0.9, 2e-4, 4, 16, 64


def images():
    with gzip.open(f"{FOLDER}-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(), np.uint8, STEPS * BATCH * 784, 16).reshape(-1, 28, 28)
    with gzip.open(f"{FOLDER}-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, STEPS * BATCH, 8).astype(np.int64)
    whole = np.zeros((len(pixels), 3, 32, 32))
    whole[:, :, 2:30, 2:30] = pixels[:, None]
    return torch.from_numpy(((whole / 255.0 - 0.5) / 0.5).astype(np.float32)), torch.from_numpy(labels)


def run(dtype):
    net = official.quiet(T2T_ViT, img_size=32, tokens_type="performer", num_classes=10, embed_dim=64, depth=4,
                         num_heads=2, mlp_ratio=2.0, token_dim=64)
    tensors.fill(net)
    for module in net.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    net = net.to(dtype).train()
    optimizer = torch.optim.SGD([{"params": net.tokens_to_token.parameters(), "lr": RATIO * LR},
                                 {"params": net.blocks.parameters(), "lr": RATIO * LR},
                                 {"params": net.head.parameters()}], lr=LR, momentum=MOMENTUM, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, eta_min=MIN_LR, T_max=EPOCHS)
    criterion = torch.nn.CrossEntropyLoss()
    x, y = images()
    losses, rates = [], []
    for _ in range(EPOCHS):
        rates.append([group["lr"] for group in optimizer.param_groups])
        for step in range(STEPS):
            part = slice(step * BATCH, (step + 1) * BATCH)
            optimizer.zero_grad()
            loss = criterion(net(x[part].to(dtype)), y[part])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        schedule.step()
    with torch.no_grad():
        logits = net.eval()(x[:BATCH].to(dtype))
    return losses, rates, logits


torch.set_num_threads(1)
single, rates, logits = run(torch.float32)
torch.Tensor.float = lambda self: self  # the performer asks for float32, whatever it is given
double, _, logits64 = run(torch.float64)
noise = max(abs(a - b) for a, b in zip(single, double))
tensors.write("tests/goldens/curves/sgd_transfer.safetensors",
              {"loss_f64run": torch.tensor(double, dtype=torch.float64), "lr": torch.tensor(rates, dtype=torch.float64),
               "final_logits_batch0_f64run": logits64},
              {"torch": torch.__version__, "lr": LR, "transfer_ratio": RATIO, "weight_decay": DECAY, "min_lr": MIN_LR,
               "noise": noise})
print(f"losses {double[0]:.4f} .. {double[-1]:.4f}, rates {rates}, float32 off by {noise:.2g} in the losses and "
      f"{(logits - logits64).abs().max():.2g} in the logits")
