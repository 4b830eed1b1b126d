"""Speed of training `hier-lstm` on the CPU, relative to a plain implementation of the same network.

Our `symbols-small` is measured beside them.

    python benchmarks/clone_cpu.py DATA [--rounds 7] [--lanes 16] [--unroll 32]

The plain network multiplies one-hot vectors, gets its pixels ready-made, and loops over time with a cell that it
resets where a game starts. It has the paper's parameter names. Both networks get the same weights and the same real
frames. Their outputs and gradients are compared before anything is timed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from strathack.dataset.reading import Dataset
from strathack.dataset.streams import unrolls
from strathack.models.encoders import cells_around, screen_cells
from strathack.models.heads import PolicyOutput, mixture_log_probs
from strathack.models.hihack import renamed
from strathack.models.losses import action_table, cloning_loss, strategy_table, targets_of
from strathack.models.policy import Policy
from strathack.models.presets import PRESETS
from strathack.models.tiles import tile_table

STRATEGIES, ACTIONS = len(PRESETS["hier-lstm"].strategies), len(PRESETS["hier-lstm"].actions)


class TopLine(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.msg_fwd = nn.Sequential(nn.Linear(80 * 256, 128), nn.ELU(), nn.Linear(128, 128), nn.ELU())

    def forward(self, chars: Tensor) -> Tensor:
        return self.msg_fwd(F.one_hot(chars[:, 0].long(), 256).flatten(1).float())


class BottomLine(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv_net = nn.Sequential(nn.Conv1d(2, 32, 8, 4), nn.ELU(), nn.Conv1d(32, 64, 4), nn.ELU())
        self.fwd_net = nn.Sequential(nn.Linear(2304, 128), nn.ELU(), nn.Linear(128, 128), nn.ELU())

    def forward(self, chars: Tensor) -> Tensor:
        codes = chars[:, -2:].flatten(1).float()
        digits = torch.where((codes > 44) & (codes < 58), (codes - 47) / 10, 0.0)
        return self.fwd_net(self.conv_net(torch.stack([(codes - 32) / 96, digits], 1)).flatten(1))


class Screen(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv_head = nn.Sequential(
            nn.Conv2d(3, 32, 8, 6), nn.ELU(), nn.Conv2d(32, 64, 4, 2), nn.ELU(),
            nn.Conv2d(64, 128, 3, 2), nn.ELU(), nn.Conv2d(128, 128, 3), nn.ELU(),
        )  # fmt: skip
        self.fc_head = nn.Sequential(nn.Linear(128, 512), nn.ELU())

    def forward(self, image: Tensor) -> Tensor:
        return self.fc_head(self.conv_head(image.float() / 255).flatten(1))


class Plain(nn.Module):
    """The hierarchical LSTM, one operation after another."""

    def __init__(self) -> None:
        super().__init__()
        self.topline_encoder, self.bottomline_encoder, self.screen_encoder = TopLine(), BottomLine(), Screen()
        self.core = nn.LSTM(128 + 128 + 512 + ACTIONS, 512)
        self.strategy_encoder = nn.Linear(512, STRATEGIES)
        self.policies = nn.ModuleList(
            nn.Sequential(nn.Linear(512, 256), nn.ELU(), nn.Linear(256, ACTIONS)) for _ in range(STRATEGIES)
        )
        self.baseline = nn.Linear(512, 1)

    def forward(self, batch: Mapping[str, Tensor]) -> PolicyOutput:
        first = batch["first"]
        chars, image = batch["tty_chars"].flatten(0, 1), batch["screen_image"].flatten(0, 1)
        previous = batch["previous_action"].flatten().long()
        one_hot = F.one_hot(previous.clamp(max=ACTIONS), ACTIONS + 1)[:, :ACTIONS].float()
        parts = [self.topline_encoder(chars), self.bottomline_encoder(chars), self.screen_encoder(image), one_hot]
        encoded = torch.cat(parts, 1).unflatten(0, first.shape)
        state = tuple(torch.zeros(1, first.shape[1], 512) for _ in range(2))
        outputs = []
        for frame, starts in zip(encoded, first, strict=True):
            state = tuple(part * ~starts[None, :, None] for part in state)
            output, state = self.core(frame[None], state)
            outputs.append(output)
        features = torch.cat(outputs)
        strategy = self.strategy_encoder(features)
        by_strategy = torch.stack([policy(features) for policy in self.policies], 2)
        value = self.baseline(features).squeeze(-1)
        return PolicyOutput(mixture_log_probs(strategy, by_strategy), value, strategy, by_strategy)


def pixels(batch: Mapping[str, Tensor]) -> Tensor:
    """The screen as an image, u8 [T, B, 3, 108, 108]."""
    frames = {name: batch[name].flatten(0, 1) for name in ("tty_chars", "tty_colors", "tty_cursor")}
    cells = cells_around(screen_cells(frames), frames["tty_cursor"], 18)
    tiles = torch.from_numpy(tile_table().copy()).flatten(0, 1)[cells]
    image = tiles.permute(0, 5, 1, 3, 2, 4).reshape(len(cells), 3, 108, 108)
    return image.contiguous().unflatten(0, batch["first"].shape)


def real_batch(path: Path, lanes: int, unroll: int) -> dict[str, Tensor]:
    """Returns a batch from the middle of games, with the screen images."""
    stream = unrolls(Dataset(path), lanes=lanes, steps=unroll, epochs=None)
    for _ in range(40):
        batch = next(stream)
    arrays = {name: torch.from_numpy(np.array(array)) for name, array in batch.items()}
    stream.close()
    # Two games start within the batch, as in a longer stretch of training.
    arrays["first"][unroll // 3, 0] = arrays["first"][unroll // 2, lanes // 2] = True
    return arrays | {"screen_image": pixels(arrays)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--lanes", type=int, default=16)
    parser.add_argument("--unroll", type=int, default=32)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    batch = real_batch(arguments.data, arguments.lanes, arguments.unroll)
    config = PRESETS["hier-lstm"]
    plain, ours, symbols = Plain(), Policy(config), Policy(PRESETS["symbols-small"])
    ours.load_state_dict(renamed(plain.state_dict(), config))
    actions = torch.from_numpy(action_table(config.actions))
    strategies = torch.from_numpy(strategy_table(config.strategies, config.strategies, "strategy"))
    targets = targets_of(batch, actions, strategies, "strategy")
    screens = {name: value for name, value in batch.items() if name != "screen_image"}

    def unrolled(policy: Policy) -> PolicyOutput:
        return policy.unroll(screens, policy.initial_state(arguments.lanes))[0]

    def trained(network: nn.Module, forward: Callable[[], PolicyOutput]) -> PolicyOutput:
        network.zero_grad()
        output = forward()
        cloning_loss(output, targets, 1.0).total.backward()
        return output

    check(trained(plain, lambda: plain(batch)), trained(ours, lambda: unrolled(ours)))
    gradients = {
        name: torch.zeros_like(value) if value.grad is None else value.grad for name, value in plain.named_parameters()
    }
    for name, expected in renamed(gradients, config).items():
        found = dict(ours.named_parameters())[name].grad
        torch.testing.assert_close(
            torch.zeros_like(expected) if found is None else found, expected, atol=1e-5, rtol=1e-3
        )
    print(f"outputs and gradients of {arguments.lanes} lanes of {arguments.unroll} are the same")

    frames = arguments.lanes * arguments.unroll
    ratios, small = [], []
    for _ in range(arguments.rounds):
        rates = []
        runs: list[tuple[nn.Module, Callable[[], PolicyOutput]]] = [
            (plain, lambda: plain(batch)), (ours, lambda: unrolled(ours)), (symbols, lambda: unrolled(symbols))
        ]  # fmt: skip
        for network, forward in runs:
            trained(network, forward)
            started = time.perf_counter()
            for _ in range(3):
                trained(network, forward)
            rates.append(3 * frames / (time.perf_counter() - started))
        ratios.append(rates[1] / rates[0])
        small.append(rates[2] / rates[0])
        print(f"plain {rates[0]:6,.0f}   hier-lstm {rates[1]:6,.0f}   symbols-small {rates[2]:6,.0f} frames/s"
              f"   ratios {ratios[-1]:.2f} and {small[-1]:.2f}")  # fmt: skip
    print(f"hier-lstm / plain, median of {arguments.rounds}: {statistics.median(ratios):.2f}; the aim is 1.7")
    print(f"symbols-small / plain hier-lstm: {statistics.median(small):.2f}")


def check(expected: PolicyOutput, found: PolicyOutput) -> None:
    """Checks that two outputs agree."""
    for name in ("action_logits", "strategy_logits", "strategywise_logits", "value"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), atol=1e-4, rtol=1e-4)


if __name__ == "__main__":
    main()
