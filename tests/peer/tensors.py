"""Tensors in files and tensors from names: safetensors read and written, and the goldens' deterministic fill.

Both are stated in tests/goldens/README.md; this is their PyTorch form, written from there.
"""

import json
import math
import struct

import numpy as np
import torch

DTYPES = {
    "F64": torch.float64,
    "I64": torch.int64,
    "F32": torch.float32,
    "I32": torch.int32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "U8": torch.uint8,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}


# ---- safetensors


def read(path):
    """{name: tensor}, and the metadata."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = bytearray(file.read())
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        dtype = DTYPES[entry["dtype"]]
        flat = torch.frombuffer(data, dtype=dtype, offset=begin, count=(end - begin) // dtype.itemsize) \
            if end > begin else torch.empty(0, dtype=dtype)
        tensors[name] = flat.reshape(entry["shape"]).clone()
    return tensors, metadata


def write(path, tensors, metadata=None):
    """Wider types first, so that every tensor is aligned."""
    order = sorted(tensors.items(), key=lambda item: -item[1].dtype.itemsize)
    header, offset = {}, 0
    if metadata:
        header["__metadata__"] = {key: value if isinstance(value, str) else json.dumps(value)
                                  for key, value in metadata.items()}
    for name, tensor in order:
        size = tensor.numel() * tensor.dtype.itemsize
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, tensor in order:
            file.write(tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes())


# ---- deterministic fill


def stream(name, count):
    """The first `count` hashes of a stream, uint64."""
    basis = 0xCBF29CE484222325
    for byte in name.encode():
        basis = ((basis ^ byte) * 0x100000001B3) % 2**64
    with np.errstate(over="ignore"):
        z = np.uint64(basis) + np.arange(count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def unit(name, shape):
    """Doubles in [-1, 1)."""
    bits = stream(name, math.prod(shape)) >> np.uint64(40)
    return torch.from_numpy(bits.astype(np.float64) * 2.0**-23 - 1.0).reshape(shape)


def labels(name, count, classes):
    return torch.from_numpy((stream(name, count) % np.uint64(classes)).astype(np.int64))


def images(batch, side, channels=3):
    return (1.5 * unit("input", (batch, channels, side, side))).float()


def fill_rule(name, shape):
    """(kind, scale) of a parameter; a learned `pos_embed` follows the rule of `cls_token`."""
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "w":
        return "scaled", math.sqrt(3 * shape[0] / shape[1])
    if leaf == "weight" and len(shape) == 1:
        return "one_plus", 0.1
    if leaf == "weight":
        scale = math.sqrt(3 / math.prod(shape[1:]))
        return "scaled", 0.25 * scale if name.endswith("kqv.weight") else scale
    return "scaled", 0.1


def fill(model):
    """Fills every tensor of a model but the fixed position table, in place."""
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if name == "pos_embed" and not tensor.requires_grad:
                continue
            kind, scale = fill_rule(name, tuple(tensor.shape))
            value = scale * unit(name, tuple(tensor.shape))
            tensor.copy_((1 + value if kind == "one_plus" else value).float())


# ---- comparisons


# Some gradients are zero in theory (the bias of the keys, a gate whose ReLU is shut). Below this norm the largest
# difference counts instead, so that a limit of 1e-4 means 1e-6.
SMALL_NORM = 1e-2


def number(x):
    """A Python number; NaN becomes infinity, which max() cannot lose."""
    return float("inf") if x.isnan() else x.item()


def gradient_error(got, want):
    """|got - want| / |want| over a tensor."""
    got, want = got.detach().double(), want.detach().double()
    if want.norm() < SMALL_NORM:
        return number((got - want).abs().max() / SMALL_NORM)
    return number((got - want).norm() / want.norm())


def relative_max(got, want):
    """The largest difference over the largest value."""
    got, want = got.detach().double(), want.detach().double()
    return number((got - want).abs().max() / want.abs().max())
