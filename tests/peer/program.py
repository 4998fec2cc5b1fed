"""The program under test, run from Python."""

import json
import os
import subprocess

import tensors

T2T = os.environ.get("T2T", os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "build", "t2t"))

# Fields of Config that only PyTorch's side knows.
OWN = ("in_chans", "fused")


def run(*arguments):
    """stdout of one t2t command; a failure raises with what it said."""
    command = [T2T, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n  exit status {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def write_config(path, config, **keys):
    """A configuration file with a Config's whole architecture, and other keys."""
    base = "vit_tiny_patch16" if config.tokens_type == "patch" else "t2t_vit_7"
    values = {"model": base, **vars(config), **keys}
    with open(path, "w") as file:
        for key, value in values.items():
            if key not in OWN:
                file.write(f"{key}: {json.dumps(value)}\n")


def trace(folder, config, weights, inputs, **keys):
    """One forward and backward pass of a file of weights on named input tensors: {name: tensor}."""
    write_config(f"{folder}/config.yaml", config, **keys)
    tensors.write(f"{folder}/input.safetensors", inputs)
    run("trace", "--config", f"{folder}/config.yaml", "--weights", weights, "--input", f"{folder}/input.safetensors",
        "--output", f"{folder}/output.safetensors")
    return tensors.read(f"{folder}/output.safetensors")[0]
