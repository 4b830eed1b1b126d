"""Training on one GPU, in bf16, from the real stream: frames a second, and the share of the card's bf16 peak.

    python benchmarks/clone_gpu.py DATA [--seconds 60] [--policies hier-lstm symbols-base] [--peak 989e12]

Trains as `strathack train` does, with data loading included. PyTorch counts the operations of one batch, forward and
backward. The default peak is that of an H200 without sparsity (NVIDIA's data sheet). Without a GPU, the script prints
that nothing was measured.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from strathack.dataset.reading import Dataset
from strathack.dataset.streams import unrolls
from strathack.models.losses import action_table, cloning_loss, targets_of
from strathack.models.options import TrainConfig
from strathack.models.policy import Policy
from strathack.models.presets import preset
from strathack.models.running import METRICS, quieten
from strathack.models.training import clone

MIDST = 40
"""Number of the batch that is counted: far enough into a stream that games are under way and screens are typical."""


def operations_a_frame(name: str, data: Path, lanes: int, unroll: int) -> float:
    """Floating-point operations per frame of matrix products and convolutions, forward and backward, on a batch.

    The batch is one as in training. PyTorch does not count the fused kernel of an LSTM. The LSTM's products are added
    here: 8 · hidden · (inputs + hidden) operations per frame forward, and twice as many backward.
    """
    policy = Policy(preset(name))
    stream = unrolls(Dataset(data), lanes=min(lanes, len(Dataset(data))), steps=unroll, epochs=None)
    for _ in range(MIDST):
        arrays = next(stream)
    batch = {key: torch.from_numpy(np.array(array)) for key, array in arrays.items()}
    stream.close()
    targets = targets_of(batch, torch.from_numpy(action_table(policy.config.actions)), None, None)
    with FlopCounterMode(display=False) as counter:
        output, _ = policy.unroll(batch, policy.initial_state(batch["first"].shape[1]))
        cloning_loss(output, targets, 0.0).total.backward()
    frames = batch["mask"].numel()
    lstms = [module for module in policy.modules() if isinstance(module, torch.nn.LSTM)]
    return counter.get_total_flops() / frames + sum(
        3 * 8 * lstm.hidden_size * (lstm.input_size + lstm.hidden_size) for lstm in lstms
    )


def frames_a_second(name: str, data: Path, seconds: float, lanes: int, unroll: int, device: str) -> float:
    """Trains, and returns the median rate over the rows of metrics.csv after the first third."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        clone(TrainConfig(data=[data], out=out, policy=name, lanes=lanes, unroll=unroll, minutes=seconds / 60,
                          device=device, validate_every=1_000_000, validation_batches=1,
                          checkpoint_every=1_000_000, log_every=20, quiet=True))  # fmt: skip
        with (out / METRICS).open() as file:
            rates = [float(row["frames_per_second"]) for row in csv.DictReader(file) if row["frames_per_second"]]
    return statistics.median(rates[len(rates) // 3 :])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--lanes", type=int, default=128)
    parser.add_argument("--unroll", type=int, default=32)
    parser.add_argument("--policies", nargs="+", default=["hier-lstm", "symbols-base"])
    parser.add_argument("--peak", type=float, default=989e12, help="bf16 operations a second of the card")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    arguments = parser.parse_args()
    quieten()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("no GPU here; nothing was measured (--device cpu tries the script)")
        return
    print(torch.cuda.get_device_name() if arguments.device == "cuda" else "CPU", time.strftime("%Y-%m-%d"))
    for name in arguments.policies:
        rate = frames_a_second(
            name, arguments.data, arguments.seconds, arguments.lanes, arguments.unroll, arguments.device
        )
        operations = operations_a_frame(name, arguments.data, arguments.lanes, arguments.unroll)
        print(f"{name}: {rate:,.0f} frames/s, data included; {operations / 1e6:.1f} M operations a frame, "
              f"{rate * operations / arguments.peak:.2%} of the peak")  # fmt: skip
    print("the aim is 250,000 frames/s for hier-lstm on one H200")


if __name__ == "__main__":
    main()
