"""One run of an official training script on one CPU thread, as accuracy.py starts it. official.py says what it needs.

    accuracy_official.py main      SEED ARG...          main.py ARG...; --opt lamb is timm 0.5.4's
    accuracy_official.py transfer  SEED EPOCHS IMAGES ARG...    transfer_learning.py ARG... on folders of images

The scripts run as they are but for what cannot be here: CUDA's calls do nothing, CIFAR is a folder of images (a class is a folder
of train/ and val/), transfer_learning.py's 60 epochs are EPOCHS, and the terminal it asks for its width has 80 columns. SEED also
seeds the generators of Python and NumPy, which they leave alone.
"""

import contextlib
import io
import os
import random
import sys
import types

import numpy as np
import torch

import official


class Parallel(torch.nn.Module):
    """DataParallel on no GPU."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        return self.module(x)


def without_cuda():
    stream = types.SimpleNamespace(wait_stream=lambda other: None)
    torch.cuda.synchronize = lambda: None
    torch.cuda.Stream = torch.cuda.current_stream = lambda: stream
    torch.cuda.stream = lambda stream: contextlib.nullcontext()
    torch.Tensor.cuda = torch.nn.Module.cuda = lambda self, **kwargs: self
    from timm.data import random_erasing

    random_erasing.RandomErasing.__init__.__defaults__ = tuple(
        "cpu" if value == "cuda" else value for value in random_erasing.RandomErasing.__init__.__defaults__)


def register_model():
    """What accuracy.py's configurations call a model of the quickstart's size."""
    from models.t2t_vit import T2T_ViT, _cfg
    from timm.models.registry import register_model as register

    def t2t_vit_quickstart(pretrained=False, **kwargs):
        model = official.quiet(T2T_ViT, tokens_type="performer", embed_dim=64, depth=4, num_heads=2, mlp_ratio=2.0, token_dim=32,
                               **kwargs)
        model.default_cfg = _cfg()
        return model

    t2t_vit_quickstart.__module__ = "models.t2t_vit"
    register(t2t_vit_quickstart)


def add_lamb():
    """create_optimizer with `lamb`: timm 0.5.4's, on the groups that 0.3.4 makes for every optimizer."""
    import timm.optim
    from timm.optim.optim_factory import add_weight_decay

    create = timm.optim.create_optimizer

    def create_optimizer(args, model):
        if args.opt != "lamb":
            return create(args, model)
        groups = add_weight_decay(model, args.weight_decay, model.no_weight_decay())
        return official.lamb()[0](groups, lr=args.lr, weight_decay=0.0, eps=args.opt_eps)

    timm.optim.create_optimizer = create_optimizer


def source(script):
    with open(os.path.join(os.environ["T2T_OFFICIAL"], script)) as file:
        return file.read()


def replaced(text, old, new):
    if text.count(old) != 1:
        sys.exit(f"accuracy_official: {old!r} stands {text.count(old)} times in the official script, expected once")
    return text.replace(old, new)


def transfer_source(epochs, images):
    import torchvision

    def cifar(root, train, download, transform):
        return torchvision.datasets.ImageFolder(os.path.join(images, "train" if train else "val"), transform)

    torchvision.datasets.CIFAR10 = cifar
    torch.cuda.is_available = lambda: True  # the script's groups are those of a DataParallel
    torch.nn.DataParallel = Parallel
    move = torch.Tensor.to
    torch.Tensor.to = lambda self, *args, **kwargs: self if args == ("cuda",) else move(self, *args, **kwargs)
    torch.nn.Module.to = lambda self, device: self
    os.popen = lambda *command: io.StringIO("24 80")
    text = replaced(source("transfer_learning.py"), "T_max=60", f"T_max={epochs}")
    text = replaced(text, "start_epoch+60", f"start_epoch+{epochs}")
    return text.replace("num_workers=8", "num_workers=0")


def main():
    kind, seed, *arguments = sys.argv[1:]
    official.load()
    torch.set_num_threads(1)
    without_cuda()
    register_model()
    add_lamb()
    random.seed(int(seed))
    np.random.seed(int(seed))
    torch.manual_seed(int(seed))
    if kind == "main":
        script, text = "main.py", source("main.py")
        arguments += ["--seed", seed]
    else:
        script, text = "transfer_learning.py", transfer_source(*arguments[:2])
        arguments = arguments[2:]
    sys.argv = [script, *arguments]
    exec(compile(text, script, "exec"), {"__name__": "__main__"})


main()
