"""Times training and inference steps of PyTorch and of `t2t bench step` in turn, and prints the ratios.

    python3 step.py [--models NAME ...] [--batches N ...] [--threads N] [--modes train infer] [--rounds N]
                    [--steps N] [--precision fp32|bf16] [--settings NAME ...] [--chosen FILE] [--json FILE]

Both sides do the same work: forward, cross-entropy, backward, clipping, AdamW and EMA on random images, with the
dropouts of the published recipes; or one forward pass without gradients. --precision bf16 puts `--set precision=bf16`
beside PyTorch's CPU autocast in bfloat16. PyTorch first runs once in each of its settings (eager or
torch.compile, attention fused or spelt out); then its fastest and t2t run in turn, A B A B, each time as a new process
on the same cores. A run's figure is the median of its steps, a side's the median of its runs. Memory is the kernel's
count of a process's peak; for PyTorch that of its leanest setting, which need not be the fastest.

--chosen keeps what the trials of PyTorch's settings gave in a file, one entry for each model, batch, mode, thread count
and version, so that later runs need not repeat them; a run of one model at a time is then as good as a run of all.
Rows are printed as soon as they are known.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata

import program

SETTINGS = ("eager", "eager-spelt", "compile", "compile-spelt")


# ---- PyTorch's side: a process of its own


def worker(options):
    import torch

    import t2t_torch

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    train = options.mode == "train"
    model = t2t_torch.build(options.model, fused="spelt" not in options.setting, drop_path=options.drop_path if train else 0.0)
    model.train(train)
    images = torch.randn(options.batch, 3, model.config.img_size, model.config.img_size)
    target = torch.randint(model.config.num_classes, (options.batch,))
    call = torch.compile(model) if options.setting.startswith("compile") else model
    params = [p for p in model.parameters() if p.requires_grad]
    if train:
        groups = [{"params": [p for n, p in model.named_parameters() if p.requires_grad and t2t_torch.decays(n, p) == decay],
                   "weight_decay": 0.05 * decay} for decay in (False, True)]
        optimizer = torch.optim.AdamW(groups, lr=5e-4, fused=True)
        average = [p.detach().clone() for p in params]

    half = options.precision == "bf16"

    def forward():
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            return call(images)

    def step():
        if not train:
            with torch.inference_mode():
                return forward()
        t2t_torch.loss(forward().float(), target).backward()
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            torch._foreach_lerp_(average, params, 1 - 0.99996)

    times = []
    for i in range(options.warmup + options.steps):
        start = time.perf_counter()
        step()
        if i >= options.warmup:
            times.append(time.perf_counter() - start)
    seconds = statistics.median(times)
    print(json.dumps({"step_ms": seconds * 1e3, "images_per_s": options.batch / seconds, "version": torch.__version__}))


# ---- both sides as processes


def measure(command, threads):
    """What the process printed as JSON, and its peak memory, on the first `threads` of our cores."""
    cores = sorted(os.sched_getaffinity(0))[:threads]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdout=output, env=environment,
                                   preexec_fn=lambda: os.sched_setaffinity(0, cores))
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: exit status {process.returncode}")
        output.seek(0)
        return {**json.load(output), "rss_mb": usage.ru_maxrss / 1024}


def measure_torch(setting, model, batch, mode, options, steps):
    return measure([sys.executable, os.path.abspath(__file__), "--worker", setting, "--models", model, "--batches", str(batch),
                    "--modes", mode, "--threads", str(options.threads), "--warmup", str(options.warmup), "--steps", str(steps),
                    "--drop-path", str(options.drop_path), "--precision", options.precision], options.threads)


def measure_t2t(model, batch, mode, options):
    command = [program.T2T, "bench", "step", "--model", model, "--batch", str(batch), "--threads", str(options.threads),
               "--steps", str(options.steps), "--set", f"drop_path={options.drop_path}", "--set",
               f"precision={options.precision}", "--json"]
    return measure(command + (["--infer"] if mode == "infer" else []), options.threads)


def read_chosen(path):
    if not path or not os.path.exists(path):
        return {}
    with open(path) as file:
        return json.load(file)


def keep_chosen(path, key, trials):
    """Adds the trials to the file; replaces it whole."""
    chosen = {**read_chosen(path), key: trials}
    with open(path + ".new", "w") as file:
        json.dump(chosen, file, indent=1)
    os.replace(path + ".new", path)


def try_settings(model, batch, mode, options):
    """{setting: its trial}, of the settings that run."""
    key = f"{model} batch={batch} {mode} threads={options.threads} drop_path={options.drop_path} torch={metadata.version('torch')}"
    if options.precision != "fp32":
        key += f" {options.precision}"
    trials = {setting: trial for setting, trial in read_chosen(options.chosen).get(key, {}).items()
              if setting in options.settings}
    for setting in options.settings:
        if setting in trials:
            continue
        try:
            trials[setting] = measure_torch(setting, model, batch, mode, options, options.trial_steps)
            print(f"  {setting}: {trials[setting]['images_per_s']:.2f} images/s, {trials[setting]['rss_mb']:.0f} MB",
                  file=sys.stderr, flush=True)
        except RuntimeError as error:
            print(f"  {setting} does not run: {error}", file=sys.stderr, flush=True)
    if not trials:
        raise RuntimeError("no setting of PyTorch runs")
    if options.chosen:
        keep_chosen(options.chosen, key, trials)
    return trials


def compare(model, batch, mode, options):
    """One row of the table."""
    trials = try_settings(model, batch, mode, options)
    fastest = max(trials, key=lambda setting: trials[setting]["images_per_s"])
    theirs, ours = [], []
    for _ in range(options.rounds):
        theirs.append(measure_torch(fastest, model, batch, mode, options, options.steps))
        ours.append(measure_t2t(model, batch, mode, options))
    median = lambda runs, key: statistics.median(run[key] for run in runs)
    row = {
        "model": model, "batch": batch, "mode": mode, "threads": options.threads, "setting": fastest,
        "torch": median(theirs, "images_per_s"), "t2t": median(ours, "images_per_s"),
        "ratios": [b["images_per_s"] / a["images_per_s"] for a, b in zip(theirs, ours)],
        "torch_rss_mb": min(median(theirs, "rss_mb"), *(trial["rss_mb"] for trial in trials.values())),
        "t2t_rss_mb": median(ours, "rss_mb"),
        "peak_share": median(ours, "peak_share"),
        "torch_version": theirs[0]["version"],
    }
    return {**row, "ratio": row["t2t"] / row["torch"], "rss_ratio": row["t2t_rss_mb"] / row["torch_rss_mb"]}


COLUMNS = "| model | batch | mode | t2t images/s | PyTorch images/s | ratio | of rounds | t2t MB | PyTorch MB | ratio | share of peak | PyTorch as |"


def table_line(row):
    low, high = min(row["ratios"]), max(row["ratios"])
    return (f"| {row['model']} | {row['batch']} | {row['mode']} | {row['t2t']:.2f} | {row['torch']:.2f} | {row['ratio']:.2f} | "
            f"{low:.2f}-{high:.2f} | {row['t2t_rss_mb']:.0f} | {row['torch_rss_mb']:.0f} | {row['rss_ratio']:.2f} | "
            f"{row['peak_share']:.0%} | {row['setting']} |")


def parse():
    parser = argparse.ArgumentParser(description="Times PyTorch and t2t in turn.")
    parser.add_argument("--models", nargs="+", default=["t2t_vit_7", "t2t_vit_14", "t2t_vit_t_14"])
    parser.add_argument("--batches", nargs="+", type=int, default=[8, 32])
    parser.add_argument("--modes", nargs="+", choices=["train", "infer"], default=["train", "infer"])
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=3, help="A B pairs")
    parser.add_argument("--steps", type=int, default=5, help="timed steps of each run")
    parser.add_argument("--trial-steps", type=int, default=2, help="timed steps of each trial of a setting")
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--chosen", help="file that keeps the trials of PyTorch's settings")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32", help="of matrix products, on both sides")
    parser.add_argument("--drop-path", type=float, default=0.1)
    parser.add_argument("--json", help="write every row's figures to this file")
    parser.add_argument("--worker", dest="setting", choices=SETTINGS, help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    options = parse()
    if options.setting:
        (options.model,), (options.batch,), (options.mode,) = options.models, options.batches, options.modes
        return worker(options)
    rows = []
    print(COLUMNS + "\n" + "|---" * (COLUMNS.count("|") - 1) + "|", flush=True)
    for model in options.models:
        for mode in options.modes:
            for batch in options.batches:
                print(f"{model}, {mode}, batch {batch}", file=sys.stderr, flush=True)
                rows.append(compare(model, batch, mode, options))
                print(table_line(rows[-1]), flush=True)
                if options.json:
                    with open(options.json, "w") as file:
                        json.dump(rows, file, indent=1)
    print(f"\nPyTorch {rows[0]['torch_version']}, {options.threads} threads, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
