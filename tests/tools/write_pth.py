"""Writes checkpoints as torch.save does, and such as it never would, by the standard library alone.

    write_pth.py FOLDER SAFETENSORS     writes FOLDER/<case>.pth; the tensors of `checkpoint` come from SAFETENSORS
"""
import argparse
import collections
import io
import json
import pickle
import struct
import sys
import types
import zipfile


def fake_module(name, **members):
    module = types.ModuleType(name)
    for key, value in members.items():
        value.__module__, value.__qualname__ = name, key
        setattr(module, key, value)
    sys.modules[name] = module


KINDS = {"F32": "FloatStorage", "F16": "HalfStorage", "BF16": "BFloat16Storage", "I64": "LongStorage"}
CLASSES = {name: type(name, (), {}) for name in list(KINDS.values()) + ["ComplexStorage"]}
fake_module("torch", **CLASSES)
fake_module("torch._utils", _rebuild_tensor_v2=lambda *a: None, _rebuild_parameter=lambda *a: None)
fake_module("numpy", dtype=type("dtype", (), {}))
fake_module("numpy.core.multiarray", scalar=lambda *a: None)
UTILS = sys.modules["torch._utils"]


class Storage:
    def __init__(self, kind, key, numel):
        self.identity = ("storage", CLASSES[kind], key, "cpu", numel)


class Call:
    """Pickles as a call of a global."""

    def __init__(self, function, *arguments):
        self.arguments = function, arguments

    def __reduce__(self):
        return self.arguments


class Pickler(pickle._Pickler):
    def persistent_id(self, thing):
        return thing.identity if isinstance(thing, Storage) else None


class Archive:
    def __init__(self):
        self.data = {}

    def tensor(self, kind, shape, content, offset=0, stride=None, numel=None, key=None):
        key = key or str(len(self.data))
        self.data[key] = content
        if stride is None:
            stride, dense = [], 1
            for n in reversed(shape):
                stride.insert(0, dense)
                dense *= n
        size = {"FloatStorage": 4, "LongStorage": 8}.get(kind, 2)
        storage = Storage(kind, key, len(content) // size if numel is None else numel)
        return Call(UTILS._rebuild_tensor_v2, storage, offset, tuple(shape), tuple(stride), False,
                    collections.OrderedDict())

    def floats(self, *values, **rest):
        return self.tensor("FloatStorage", [len(values)], struct.pack("<%df" % len(values), *values), **rest)

    def save(self, path, thing, protocol=2, method=zipfile.ZIP_STORED, byteorder=b"little"):
        code = thing
        if not isinstance(thing, bytes):
            stream = io.BytesIO()
            Pickler(stream, protocol).dump(thing)
            code = stream.getvalue()
        with zipfile.ZipFile(path, "w", method) as file:
            file.writestr("archive/data.pkl", code)
            file.writestr("archive/byteorder", byteorder)
            for key, content in self.data.items():
                file.writestr("archive/data/" + key, content)
            file.writestr("archive/version", b"3\n")


def read_safetensors(path):
    with open(path, "rb") as file:
        size, = struct.unpack("<Q", file.read(8))
        header, data = json.loads(file.read(size)), file.read()
    header.pop("__metadata__", None)
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        yield name, KINDS[entry["dtype"]], entry["shape"], data[begin:end]


def checkpoint(archive, path, source):
    """A whole training checkpoint as timm's CheckpointSaver writes it; the raw weights are zeros."""
    ema, raw = collections.OrderedDict(), collections.OrderedDict()
    for name, kind, shape, content in read_safetensors(source):
        ema[name] = archive.tensor(kind, shape, content)
        raw["module." + name] = archive.tensor(kind, shape, bytes(len(content)))
    everything = {"epoch": 309, "arch": "t2t", "state_dict": raw, "state_dict_ema": ema,
                  "metric": Call(sys.modules["numpy.core.multiarray"].scalar,
                                 Call(sys.modules["numpy"].dtype, "f8", False, True), struct.pack("<d", 81.5)),
                  "args": argparse.Namespace(lr=5e-4, opt="adamw", betas=None, drop=[0.0, True]),
                  "optimizer": {"state": {0: {"step": 5, "exp_avg": archive.floats(1.0)}}, "param_groups": [{}]}}
    archive.save(path, everything)


def layouts(archive, path, _):
    """Slices, transposes, shared storages, parameters, every type."""
    grid = struct.pack("<6f", *range(6))
    archive.save(path, {
        "transposed": archive.tensor("FloatStorage", [3, 2], grid, stride=[1, 3]),
        "module.slice": archive.tensor("FloatStorage", [2, 2], grid, offset=1, stride=[3, 1]),
        "parameter": Call(UTILS._rebuild_parameter, archive.floats(7.0), True, collections.OrderedDict()),
        "half": archive.tensor("HalfStorage", [2], struct.pack("<2e", 1.5, -2)),
        "brain": archive.tensor("BFloat16Storage", [1], b"\xc0\x3f"),
        "long": archive.tensor("LongStorage", [1], struct.pack("<q", -9)),
        "scalar": archive.tensor("FloatStorage", [], struct.pack("<f", 2.5)),
        "empty": archive.tensor("FloatStorage", [0, 5], b""),
        "count": 3,
    }, protocol=4)


def system(command):
    """As os.system pickles."""
    import os
    return Call(os.system, command)


def shared(archive, path, count, size, length, name="w%d"):
    """Tensors of `length` floats, all of one storage of `size`."""
    content = bytes(4 * size)
    archive.save(path, {name % i: archive.tensor("FloatStorage", [length], content, key="0") for i in range(count)})


def alternating(archive, path, _):
    """Two storages in turn, of which each tensor wants one number."""
    content = bytes(1 << 20)
    archive.save(path, {"w%d" % i: archive.tensor("FloatStorage", [1], content, key=str(i % 2)) for i in range(200)})


def copies(archive, path, _):
    """torch.Size of one long list, again and again."""
    code = b"\x80\x02]q\x00(" + b"K\x01" * 500000 + b"e0ctorch\nSize\nq\x010"
    archive.save(path, code + b"h\x01h\x00\x85R" * 100000 + b".")


CASES = {
    "tied": lambda a, p, _: shared(a, p, 3, 1000, 1000),
    "shared": lambda a, p, _: shared(a, p, 3000, 10000, 10000),
    "alternating": alternating,
    "copies": copies,
    "long_name": lambda a, p, _: a.save(p, b"\x80\x02c" + b"a" * 300 + b"\nb\n."),
    "dimensions": lambda a, p, _: a.save(p, {"w": a.tensor("FloatStorage", [1] * 9, b"\0" * 4)}),
    "large_pickle": lambda a, p, _: a.save(p, b"\x80\x02" + b"]" * (5 << 20) + b"."),
    "escape": lambda a, p, _: a.save(p, {"a\x1b[31mb": 1}),
    "checkpoint": checkpoint,
    "official_cifar": lambda a, p, _: a.save(p, {"net": {"module.w": a.floats(1.0)}, "acc": 98.3, "epoch": 59}),
    "layouts": layouts,
    "call_system": lambda a, p, _: a.save(p, {"w": a.floats(1.0), "x": system("touch %s.called" % p)}),
    "call_eval": lambda a, p, _: a.save(p, {"w": a.floats(1.0), "x": Call(eval, "open('%s.called', 'w')" % p)}),
    "call_inst": lambda a, p, _: a.save(p, b"(S'touch %s.called'\nios\nsystem\n." % p.encode()),
    "legacy": lambda a, p, _: open(p, "wb").write(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."),
    "no_zip": lambda a, p, _: open(p, "wb").write(b"hello"),
    "beyond_storage": lambda a, p, _: a.save(p, {"w": a.floats(1.0, 2.0, offset=1)}),
    "expanded": lambda a, p, _: a.save(p, {"w": a.tensor("FloatStorage", [1 << 40], b"\0" * 4, stride=[0])}),
    "negative": lambda a, p, _: a.save(p, {"w": a.floats(1.0, 2.0, stride=[-1])}),
    "short_storage": lambda a, p, _: a.save(p, {"w": a.floats(1.0, 2.0, numel=3)}),
    "huge_storage": lambda a, p, _: a.save(p, {"w": a.floats(1.0, 2.0, numel=1 << 62)}),
    "unknown_type": lambda a, p, _: a.save(p, {"w": a.tensor("ComplexStorage", [1], b"\0" * 8)}),
    "compressed": lambda a, p, _: a.save(p, {"w": a.floats(1.0)}, method=zipfile.ZIP_DEFLATED),
    "big_endian": lambda a, p, _: a.save(p, {"w": a.floats(1.0)}, byteorder=b"big"),
    "no_tensors": lambda a, p, _: a.save(p, {"epoch": 1}),
    "not_a_dictionary": lambda a, p, _: a.save(p, [a.floats(1.0)]),
    "same_names": lambda a, p, _: a.save(p, {"w": a.floats(1.0), "module.w": a.floats(2.0)}),
    "broken_pickle": lambda a, p, _: a.save(p, b"\x80\x02}q\x00(X\x05\x00\x00\x00wei"),
    "empty_stack": lambda a, p, _: a.save(p, b"\x80\x02u."),
    "no_memo": lambda a, p, _: a.save(p, b"\x80\x02h\x05."),
    "mark_robbery": lambda a, p, _: a.save(p, b"\x80\x02K\x01(\x86."),
    "nested": lambda a, p, _: a.save(p, b"\x80\x02" + b"(" * 100000 + b"l" * 100000 + b"."),
}

if __name__ == "__main__":
    for name, case in CASES.items():
        case(Archive(), "%s/%s.pth" % (sys.argv[1], name), sys.argv[2])
