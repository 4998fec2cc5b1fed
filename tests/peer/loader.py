"""The training pipeline's speed beside Pillow + timm 0.3.4 on the same images, core and moment.

timm is the published package, taken from its wheel; torchvision, whose functions for Pillow images only call Pillow,
is replaced by those calls. Both sides run on one thread and are timed by processor time, in turns, so that other work
on the machine disturbs both alike.

    tests/peer/run loader [--images N] [--rounds N]
"""
import argparse
import glob
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import types
import zipfile

import numpy as np
import torch
from PIL import Image, features

from report import Report

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def timm_modules(folder):
    """The modules of timm that make an image, without the rest of the package."""
    subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, "timm==0.3.4"],
                   check=True)
    functional = types.ModuleType("torchvision.transforms.functional")
    functional.resized_crop = lambda image, top, left, height, width, size, filter: image.crop(
        (left, top, left + width, top + height)).resize(size[::-1], filter)
    transforms = types.ModuleType("torchvision.transforms")
    transforms.functional = functional
    vision = types.ModuleType("torchvision")
    vision.transforms = transforms
    sys.modules.update({"torchvision": vision, "torchvision.transforms": transforms,
                        "torchvision.transforms.functional": functional})
    loaded = types.SimpleNamespace()
    with zipfile.ZipFile(glob.glob(os.path.join(folder, "timm-0.3.4*.whl"))[0]) as wheel:
        for name in ("auto_augment", "transforms", "random_erasing", "mixup"):
            module = types.ModuleType("timm_" + name)
            exec(compile(wheel.read("timm/data/%s.py" % name), name, "exec"), module.__dict__)
            setattr(loaded, name, module)
    return loaded


def photograph(rng, width=500, height=375):
    """Colour at several scales and fine grain: some 60 KB as a JPEG, as ImageNet's photographs of this size."""
    total = np.zeros((height, width, 3))
    for cell, amplitude in ((96, 1), (24, 0.5), (6, 0.3), (2, 0.12)):
        grid = (rng.random((height // cell + 2, width // cell + 2, 3)) * 255).astype(np.uint8)
        total += amplitude * np.asarray(Image.fromarray(grid).resize((width, height), Image.BICUBIC))
    return Image.fromarray((total / total.max() * 255).astype(np.uint8))


def write_source(folder, count):
    rng = np.random.default_rng(0)
    for split, images in (("train", count), ("val", 2)):
        for i in range(images):
            target = os.path.join(folder, split, "class%d" % (i % 2))
            os.makedirs(target, exist_ok=True)
            photograph(rng).save(os.path.join(target, "%04d.JPEG" % i), quality=90, subsampling=0 if i % 5 else 2)
    return sorted(glob.glob(os.path.join(folder, "train", "*", "*.JPEG")))


class Peer:
    """What timm's loader does to an image and to a batch in the T2T-ViT recipe."""

    def __init__(self, timm, batch):
        self.batch = batch
        self.crop = timm.transforms.RandomResizedCropAndInterpolation(224, interpolation="random")
        self.augment = timm.auto_augment.rand_augment_transform(
            "rand-m9-mstd0.5-inc1", dict(translate_const=100, img_mean=(124, 116, 104)))
        self.to_numpy = timm.transforms.ToNumpy()
        self.collate = timm.mixup.FastCollateMixup(mixup_alpha=0.8, cutmix_alpha=1.0, label_smoothing=0.1, num_classes=2)
        self.erase = timm.random_erasing.RandomErasing(0.25, mode="pixel", device="cpu")
        self.mean = torch.tensor([255 * v for v in MEAN]).view(1, 3, 1, 1)
        self.std = torch.tensor([255 * v for v in STD]).view(1, 3, 1, 1)

    def decode(self, data):
        return Image.open(io.BytesIO(data)).convert("RGB")

    def evaluate(self, data):
        image = self.decode(data)
        short = min(image.size)
        image = image.resize([248 * side // short for side in image.size], Image.BICUBIC)
        left, top = (image.size[0] - 224) // 2, (image.size[1] - 224) // 2
        return self.to_numpy(image.crop((left, top, left + 224, top + 224)))

    def train(self, data):
        image = self.crop(self.decode(data))
        if np.random.rand() < 0.5:
            image = image.transpose(Image.FLIP_LEFT_RIGHT)
        return self.to_numpy(self.augment(image))

    def finish(self, arrays, training):
        if training:
            images, _ = self.collate([(a, 0) for a in arrays])
        else:
            images = torch.from_numpy(np.stack(arrays))
        images = images.float().sub_(self.mean).div_(self.std)
        return self.erase(images) if training else images

    def rate(self, mode, files):
        """Images per second of processor time."""
        begin = time.process_time()
        for first in range(0, len(files), self.batch):
            part = files[first:first + self.batch]
            if mode == "decode":
                for data in part:
                    self.decode(data).load()
            else:
                self.finish([getattr(self, {"eval": "evaluate", "train": "train"}[mode])(data) for data in part],
                            mode == "train")
        return len(files) / (time.process_time() - begin)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    report = Report()
    ours, theirs = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        peer = Peer(timm_modules(folder), 32)
        paths = write_source(os.path.join(folder, "source"), options.images)
        files = [open(path, "rb").read() for path in paths]
        data = os.path.join(folder, "data")
        subprocess.run([os.environ["T2T"], "convert", os.path.join(folder, "source"), data], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        command = [os.environ["T2T"], "bench", "loader", "--data", data, "--images", str(4 * options.images), "--json"]
        for _ in range(options.rounds):
            for row in json.loads(subprocess.run(command, check=True, capture_output=True).stdout):
                ours[row["mode"]] = max(ours.get(row["mode"], 0), row["images_per_s_per_core"])
            for mode in ours:
                theirs[mode] = max(theirs.get(mode, 0), peer.rate(mode, files))
    print("Both sides in turns on the same core, one thread each, with the same %d JPEGs (500 x 375, %.0f KB on average) from "
          "memory; images per second of processor time, best of %d rounds." %
          (len(files), sum(map(len, files)) / len(files) / 1e3, options.rounds))
    print("The same work: train is decode, random resized crop, flip, RandAugment, mixup or cutmix, normalise, erase, with "
          "timm's settings; eval is resize 248, crop 224, normalise. Pillow %s (%s)." %
          (Image.__version__, "libjpeg-turbo " + features.version("libjpeg_turbo")
           if features.check("libjpeg_turbo") else "libjpeg"))
    for mode in ours:
        print("%-8s t2t %8.1f   Pillow + timm %8.1f   %.2f times" % (mode, ours[mode], theirs[mode],
                                                                    ours[mode] / theirs[mode]))
    report.at_most("time of the training pipeline, ours over theirs", theirs["train"] / ours["train"], 1 / 3)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
