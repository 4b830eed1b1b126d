"""All that is to be known of a GPU, by one command: right results, speed, and what it trains in some minutes.

    python benchmarks/gpu.py DATA [--work bench/gpu] [--out bench/gpu/out] [--minutes 10] [--train-minutes 6]
                             [--policies hier-lstm symbols-base] [--policy symbols-small] [--peak 989e12] …

DATA is a keys-only dataset, such as data/autoascend-1k; nothing is fetched. In order:

1. the games are replayed into WORK/data, by one process on each core;
2. every preset's outputs, loss and gradients on real frames are compared with the CPU's, in 32 bits and in bf16;
3. the frames a second of training from the real stream, and their share of the card's bf16 peak;
4. a policy is trained for some minutes;
5. it plays games.

A command ends after ``--minutes``; the next one goes on where it stopped. OUT holds at most four files below 16 MiB:
gpu.json, metrics.csv, evaluation.json, policy.safetensors. The default peak is that of an H200 without sparsity
(NVIDIA's data sheet).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rates import frames_a_second
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from strathack import cli
from strathack.dataset import Dataset
from strathack.dataset.devices import moved
from strathack.dataset.streams import unrolls
from strathack.models.losses import action_table, cloning_loss, inputs_of, targets_of
from strathack.models.options import Precision, TrainConfig
from strathack.models.policy import Policy
from strathack.models.presets import PRESETS, preset
from strathack.models.running import METRICS, OPTIONS, quieten
from strathack.models.saving import load_policy, save_policy
from strathack.models.training import train_policy

MIDST = 40
"""Number of the batch that is looked at: far enough into a stream that games are under way and screens are typical."""

ACCURACY: dict[Precision, float] = {"32": 2e-3, "bf16": 0.1}
"""Precision → the largest difference of a log-probability, in nats, and of loss and gradient, relatively."""

SPARED = 20.0
"""Seconds at the end of a command for ending what runs."""

LARGEST_FILE = 16 << 20


class OutOfTimeError(Exception):
    """The minutes of this command are over; another command goes on."""


@dataclass
class Command:
    """What is asked for, what is known, and the time that is left."""

    asked: argparse.Namespace
    known: dict[str, Any]
    began: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        """Seconds until this command has to begin to end."""
        return self.asked.minutes * 60 - SPARED - (time.monotonic() - self.began)

    @property
    def data(self) -> list[Path]:
        return sorted((self.asked.work / "data").iterdir())

    def note(self, name: str, value: Any) -> None:
        """Keeps a result, at once."""
        self.known[name] = value
        self.asked.out.mkdir(parents=True, exist_ok=True)
        (self.asked.out / "gpu.json").write_text(json.dumps(self.known, indent=2))
        print(f"{name}: {json.dumps(value)}", flush=True)

    def need(self, seconds: float) -> None:
        """Raises if less time is left."""
        if self.left < seconds:
            raise OutOfTimeError


def expand(command: Command) -> None:
    """Replays the games, those of each core into a folder of its own."""
    if "expanded" in command.known:
        return
    cores = command.asked.workers or os.cpu_count() or 1
    began = time.monotonic()
    processes = []
    for core in range(cores):
        words = ["dataset", "expand", command.asked.data, command.asked.work / "data" / str(core), "--workers", "0"]
        words += ["--select", f"({command.asked.select}) and core % {cores} == {core}", "--quiet"]
        words += [
            "--observations",
            ",".join(sorted({key for policy in PRESETS.values() for key in policy.observations})),
        ]
        command_line = [sys.executable, "-m", "strathack", *map(str, words)]
        processes.append(subprocess.Popen(command_line, stdout=subprocess.DEVNULL))
    for process in processes:
        try:
            process.wait(max(command.left, 0.1))
        except subprocess.TimeoutExpired:
            for one in processes:
                one.send_signal(signal.SIGTERM)
            for one in processes:
                one.wait()
            raise OutOfTimeError from None
    failed = [process.returncode for process in processes if process.returncode]
    if failed:
        raise SystemExit(f"expanding failed with status {failed[0]}")
    data = Dataset(command.data)
    command.note("expanded", {"games": len(data), "steps": data.steps, "seconds": round(time.monotonic() - began)})


def frames(command: Command, lanes: int, steps: int) -> dict[str, Tensor]:
    """A batch from the midst of a stream."""
    dataset = Dataset(command.data)
    stream = unrolls(dataset, lanes=min(lanes, len(dataset)), steps=steps, epochs=None)
    for _ in range(MIDST):
        arrays = next(stream)
    batch = {key: torch.from_numpy(np.array(array)) for key, array in arrays.items()}
    stream.close()
    return batch


def outputs(policy: Policy, batch: dict[str, Tensor], device: str, precision: Precision) -> dict[str, Tensor]:
    """Log-probabilities, loss and the gradient's norm, on the CPU."""
    policy = policy.to(device)
    table = torch.from_numpy(action_table(policy.config.actions)).to(device)
    there = moved(batch, torch.device(device))
    targets = targets_of(there, table, None, None)
    with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
        output, _ = policy.unroll(inputs_of(there, table), policy.initial_state(batch["first"].shape[1]))
        loss = cloning_loss(output, targets, 0.0).total
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
    policy.zero_grad()
    found = {"log_probs": output.action_logits.float().log_softmax(-1), "loss": loss, "gradient": norm}
    return {name: value.detach().cpu().double() for name, value in found.items()}


def check(command: Command) -> None:
    """Compares every preset with itself on the CPU."""
    left = [name for name in PRESETS if f"check {name}" not in command.known]
    if not left:
        return
    batch = frames(command, 4, 16)
    torch.backends.cudnn.allow_tf32 = False  # this compares with 32 bits
    for name in left:
        command.need(30)
        torch.manual_seed(0)
        policy = Policy(preset(name)).train()
        for module in policy.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        expected = outputs(policy, batch, "cpu", "32")
        found = {}
        for precision, accuracy in ACCURACY.items():
            got = outputs(policy, batch, "cuda", precision)
            differences = {
                "log_probs": float((got["log_probs"] - expected["log_probs"]).abs().max()),
                **{one: float(got[one] / expected[one] - 1) for one in ("loss", "gradient")},
            }
            right = all(abs(difference) < accuracy for difference in differences.values())
            found[precision] = {**{key: round(value, 7) for key, value in differences.items()}, "right": right}
        command.note(f"check {name}", found)
    torch.backends.cudnn.allow_tf32 = True


def operations_a_frame(policy: Policy, batch: dict[str, Tensor]) -> float:
    """Floating-point operations per frame of matrix products and convolutions, forward and backward, as PyTorch counts.

    PyTorch does not count the fused kernel of an LSTM. The LSTM's products are added here: 8 · hidden · (inputs +
    hidden) operations per frame forward, and twice as many backward.
    """
    table = torch.from_numpy(action_table(policy.config.actions))
    with FlopCounterMode(display=False) as counter:
        output, _ = policy.unroll(inputs_of(batch, table), policy.initial_state(batch["first"].shape[1]))
        cloning_loss(output, targets_of(batch, table, None, None), 0.0).total.backward()
    lstms = [module for module in policy.modules() if isinstance(module, torch.nn.LSTM)]
    return counter.get_total_flops() / batch["mask"].numel() + sum(
        3 * 8 * lstm.hidden_size * (lstm.input_size + lstm.hidden_size) for lstm in lstms
    )


def speed(command: Command) -> None:
    """Trains with data loading included, and gives frames a second and the share of the card's peak."""
    asked = command.asked
    for name in asked.policies:
        if f"speed {name}" in command.known:
            continue
        command.need(asked.seconds + 30)
        run = asked.work / f"speed-{name}"
        shutil.rmtree(run, ignore_errors=True)
        options = TrainConfig(
            data=command.data, out=run, policy=name, minutes=asked.seconds / 60, device="cuda", quiet=True,
            validate_every=10**6, validation_batches=1, checkpoint_every=10**6, log_every=asked.log_every,
        )  # fmt: skip
        train_policy(options)
        rate, operations = frames_a_second(run), operations_a_frame(Policy(preset(name)), frames(command, 32, 32))
        found = {
            "frames_per_second": round(rate),
            "lanes": json.loads((run / OPTIONS).read_text())["lanes"],
            "operations_per_frame": round(operations),
            "share_of_peak": round(rate * operations / asked.peak, 4),
            "device": torch.cuda.get_device_name(),
        }
        command.note(f"speed {name}", found)
        shutil.rmtree(run)


def train(command: Command) -> None:
    """Trains for as long as is asked for, over as many commands as it takes."""
    wanted, done = command.asked.train_minutes, command.known.get("trained", {}).get("minutes", 0.0)
    run, out = command.asked.work / "run", command.asked.out
    if wanted - done < 0.05:
        return
    command.need(30)
    minutes = min(wanted, done + command.left / 60)
    if (run / OPTIONS).exists():
        options = TrainConfig(resume=run, minutes=minutes, quiet=True)
    else:
        options = TrainConfig(data=command.data, out=run, policy=command.asked.policy, minutes=minutes, device="cuda",
                              validate_every=500, validation_batches=50, quiet=True)  # fmt: skip
    module = train_policy(options).module
    policy = load_policy(run)
    if sum(value.numel() for value in policy.parameters()) * 4 > LARGEST_FILE:
        policy = policy.to(torch.bfloat16)
    save_policy(out / "policy.safetensors", policy)
    shutil.copy(run / METRICS, out / METRICS)
    nll = module.validated.action_nll if module.validated else None
    command.note("trained", {"minutes": round(minutes, 2), "frames": module.frames, "validation_nll": nll})
    if wanted - minutes > 0.05:
        raise OutOfTimeError


def evaluate(command: Command) -> None:
    """Plays games with the policy."""
    if "evaluated" in command.known or not command.asked.games:
        return
    command.need(60)
    folder, asked = command.asked.work / "evaluation", command.asked
    words = f"evaluate {asked.work / 'run'} --out {folder} --games {asked.games} --clock seed --device cuda --quiet"
    words += f" --max-steps {asked.max_steps} --workers {os.cpu_count() if asked.workers is None else asked.workers}"
    if status := cli.main(words.split()):
        raise SystemExit(f"evaluating failed with status {status}")
    shutil.copy(folder / "evaluation.json", asked.out / "evaluation.json")
    command.note("evaluated", {"games": asked.games, "max_steps": asked.max_steps})


def parsed(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, default=Path("bench/gpu"))
    parser.add_argument("--out", type=Path, default=Path("bench/gpu/out"))
    parser.add_argument("--select", default="steps > 0", help="a condition that selects games")
    parser.add_argument("--minutes", type=float, default=10, help="of this command")
    parser.add_argument("--seconds", type=float, default=45, help="of each measured training")
    parser.add_argument("--log-every", type=int, default=10, help="steps between the rates of such a training")
    parser.add_argument("--train-minutes", type=float, default=6, help="of the training, over all commands")
    parser.add_argument("--policies", nargs="+", default=["hier-lstm", "symbols-base"], help="to measure")
    parser.add_argument("--policy", default="symbols-small", help="to train")
    parser.add_argument("--games", type=int, default=32, help="to play; 0 plays none")
    parser.add_argument("--max-steps", type=int, default=10_000)
    parser.add_argument("--workers", type=int, help="processes that replay and play; by default one per core")
    parser.add_argument("--peak", type=float, default=989e12, help="bf16 operations a second of the card")
    return parser.parse_args(words)


def main(words: list[str]) -> int:
    asked = parsed(words)
    quieten()
    if not torch.cuda.is_available():
        print("no GPU here; nothing was measured")
        return 0
    path = asked.out / "gpu.json"
    kept = asked.work / "gpu.json"  # where OUT is emptied between commands
    known = json.loads(kept.read_text()) if kept.exists() else {}
    command = Command(asked, known)
    stages: list[Callable[[], None]] = [partial(stage, command) for stage in (expand, check, speed, train, evaluate)]
    try:
        for stage in stages:
            stage()
        print("all is done; the aim is 250,000 frames/s for hier-lstm on one H200")
    except OutOfTimeError:
        print("the time is over; the same command goes on")
    finally:
        if path.exists():
            shutil.copy(path, kept)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
