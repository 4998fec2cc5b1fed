"""TensorBoard itself reads what a run has left for it: each figure of metrics.jsonl, and the text of who computed it; also of a run
that was resumed, and one that had nothing left to do."""

import glob
import json
import os
import subprocess
import sys
import tempfile

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from report import Report

TAGS = {"train": {"train/loss": "loss", "train/lr": "lr", "train/grad_norm": "grad_norm",
                  "speed/images_per_s": "images_per_s", "speed/data_wait": "data_wait", "speed/comm_wait": "comm_wait"},
        "validation": {"eval/loss": "loss", "eval/top1": "top1", "eval/top5": "top5", "eval_ema/loss": "loss_ema",
                       "eval_ema/top1": "top1_ema", "eval_ema/top5": "top5_ema"}}


T2T = os.environ.get("T2T", "build/t2t")


def run(*arguments):
    done = subprocess.run([T2T, *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"t2t {' '.join(arguments)}: exit status {done.returncode}\n{done.stderr}")


def train(folder, *more):
    run("train", "configs/quickstart.yaml", "--output", f"{folder}/run", "--set", f"data={folder}/data", "--set",
        "log_interval=3", "--set", "threads=1", "--set", "checkpoint_every=5steps", "--set", "warmup_epochs=0", *more)


def compare(report, what, folder, texts):
    board = EventAccumulator(f"{folder}/run/tb", size_guidance={"scalars": 0, "tensors": 0})
    board.Reload()
    lines = [json.loads(line) for line in open(f"{folder}/run/metrics.jsonl")]
    for event, tags in TAGS.items():
        records = [line for line in lines if line["event"] == event]
        for tag, key in tags.items():
            read = [(scalar.step, scalar.value) for scalar in board.Scalars(tag)]
            report.at_most(f"{what}: {tag}: steps that differ", abs(len(read) - len(records)) +
                           sum(step != record["step"] for (step, _), record in zip(read, records)), 0)
            report.at_most(f"{what}: {tag}: largest difference", max(
                abs(value - record[key]) / max(1.0, abs(record[key])) for (_, value), record in zip(read, records)), 1e-6)
    found = board.Tensors("run/text_summary" if "run/text_summary" in board.Tags()["tensors"] else "run")
    report.at_most(f"{what}: texts beside {texts} expected", abs(len(found) - texts), 0)
    text = found[-1].tensor_proto.string_val[0].decode()
    for word in ("| command | t2t train ", "| hosts | ", "| processors | ", "| mpi | "):
        report.at_most(f"{what}: the text lacks '{word}'", word not in text, 0)


def main():
    report = Report()
    with tempfile.TemporaryDirectory() as folder:
        run("convert", "--synthetic", "1280", f"{folder}/data")
        train(folder, "--set", "epochs=2")
        compare(report, "a run", folder, 1)
        train(folder, "--set", "epochs=3", "--resume", "auto", "--override")
        compare(report, "resumed with more epochs", folder, 2)
        before = len(glob.glob(f"{folder}/run/tb/*"))
        train(folder, "--set", "epochs=3", "--resume", "auto")
        report.at_most("event files of a start with nothing to do", len(glob.glob(f"{folder}/run/tb/*")) - before, 0)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
