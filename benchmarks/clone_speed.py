"""Speed of cloning, against an earlier revision of this repository: `strathack train` on the same data, by turns.

    python benchmarks/clone_speed.py DATA [--peer 0dc882d] [--policies symbols-small hier-lstm symbols-base]
                                     [--rounds 3] [--lanes 32] [--unroll 32] [--devices 1]

With more than one device, ours trains in as many processes of a thread each, which share the lanes and their gradients.
The peer is installed from a git worktree into a temporary folder and runs in this environment. Both train from the real
stream, with their own defaults otherwise; each round prints the median of the rates of metrics.csv after the first
third, of either, and their ratio.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from rates import frames_a_second

ROOT = Path(__file__).parents[1]
STEPS = {"symbols-small": 160, "hier-lstm": 60, "symbols-base": 30}
"""Optimiser steps of a run: half a minute or less."""

AS_BEFORE = "heads.offered=false"
"""A part of today's presets that the peer does not have."""


def installed(revision: str, folder: Path) -> Path:
    """Installs a revision, without what it depends on; returns a folder for PYTHONPATH."""
    tree, packages = folder / "tree", folder / "packages"
    subprocess.run(["git", "-C", ROOT, "worktree", "add", "--detach", "--quiet", tree, revision], check=True)
    try:
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", packages, tree]
        subprocess.run(install, check=True)
    finally:
        subprocess.run(["git", "-C", ROOT, "worktree", "remove", "--force", tree], check=True)
    return packages


def rate(data: Path, policy: str, lanes: int, unroll: int, packages: Path | None, devices: int = 1) -> float:
    """Trains for some steps, and returns frames a second, of all processes together."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        options = {
            "--out": run, "--policy": policy, "--lanes": lanes // devices, "--unroll": unroll, "--device": "cpu",
            "--devices": devices,
            "--set": AS_BEFORE if packages is None else "",
            "--steps": STEPS.get(policy, 60), "--log-every": 10, "--validate-every": 10**6, "--validation-batches": 1,
        }  # fmt: skip
        words = [str(word) for option in options.items() for word in option]
        environment = os.environ | ({} if packages is None else {"PYTHONPATH": str(packages)})
        environment |= {"OMP_NUM_THREADS": "1"} if devices > 1 else {}
        subprocess.run(
            [sys.executable, "-m", "strathack", "train", data.resolve(), *words, "--quiet"],
            check=True, env=environment, cwd=folder, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        return frames_a_second(run)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--peer", default="0dc882d")
    parser.add_argument("--policies", nargs="+", default=list(STEPS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lanes", type=int, default=32)
    parser.add_argument("--unroll", type=int, default=32)
    parser.add_argument("--devices", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        packages = installed(arguments.peer, Path(folder))
        for policy in arguments.policies:
            ratios = []
            for number in range(arguments.rounds):
                asked = arguments.data, policy, arguments.lanes, arguments.unroll
                peer, ours = rate(*asked, packages), rate(*asked, None, arguments.devices)
                ratios.append(ours / peer)
                print(
                    f"{policy}, round {number}: peer {peer:7,.0f}  ours {ours:7,.0f} frames/s  ratio {ratios[-1]:.2f}"
                )
            print(f"{policy}: ours / peer, median of {arguments.rounds}: {statistics.median(ratios):.2f}", flush=True)


if __name__ == "__main__":
    main()
