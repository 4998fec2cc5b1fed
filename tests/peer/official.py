"""The official T2T-ViT code and the timm it asks for, importable with a PyTorch of today.

Neither is part of this repository:

    git clone https://github.com/yitu-opensource/T2T-ViT OFFICIAL
    pip install --no-deps --target TIMM timm==0.3.4 pillow==9.5.0
    T2T_OFFICIAL=OFFICIAL T2T_TIMM=TIMM tests/peer/run gen_transfer

torchvision and PyYAML have to be installed beside PyTorch (timm's image pipeline and main.py use them). timm 0.3.4 has no LAMB;
T2T_TIMM_LAMB names a folder with timm 0.5.4, the oldest release near it that has:

    pip install --no-deps --target TIMM_LAMB timm==0.5.4
"""

import collections.abc
import contextlib
import importlib.util
import io
import os
import sys
import types

from torch import library as operators


def load():
    """Makes `models`, `timm` and the scripts importable; exits with what is missing."""
    for variable in ("T2T_OFFICIAL", "T2T_TIMM"):
        folder = os.environ.get(variable)
        if not folder or not os.path.isdir(folder):
            sys.exit(f"{variable} has to name a folder: see tests/peer/official.py")
        sys.path.insert(0, folder)
    six = types.ModuleType("torch._six")  # gone since PyTorch 1.13; timm 0.3.4 asks it for this
    six.container_abcs = collections.abc
    six.int_classes, six.string_classes = int, (str,)
    sys.modules["torch._six"] = six
    # Builds of torchvision that do not fit the PyTorch at hand lack operators that nothing here calls.
    register, operators.register_fake = operators.register_fake, lambda *a, **k: lambda f: f
    import torchvision  # noqa: F401

    operators.register_fake = register
    with contextlib.redirect_stdout(io.StringIO()):
        import models  # noqa: F401
        import timm

    if timm.__version__ != "0.3.4":
        sys.exit(f"T2T_TIMM has timm {timm.__version__}; the official code asks for 0.3.4")


def quiet(make, *args, **kwargs):
    """The official constructors print."""
    with contextlib.redirect_stdout(io.StringIO()):
        return make(*args, **kwargs)


def lamb():
    """timm/optim/lamb.py alone, since the package around it does not import with a PyTorch of today: the class, its version."""
    folder = os.environ.get("T2T_TIMM_LAMB", "")
    path = os.path.join(folder, "timm", "optim", "lamb.py")
    if not os.path.exists(path):
        sys.exit("T2T_TIMM_LAMB has to name a folder with timm 0.5.4: see tests/peer/official.py")
    spec = importlib.util.spec_from_file_location("lamb", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    version = types.ModuleType("version")
    with open(os.path.join(folder, "timm", "version.py")) as file:
        exec(file.read(), version.__dict__)
    return module.Lamb, version.__version__
