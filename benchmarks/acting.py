"""Speed of rollout workers with a policy that costs nothing, relative to the same environments in a plain loop.

Bare: the same number of processes, each of which steps the same number of environments in a loop with random moves.
Ours: rollout workers by Ray write frames to shared memory, and unrolls are handed out and released. Both sides take the
same moves from the same generator. Rounds of the two sides alternate.
"""

from __future__ import annotations

import argparse
import multiprocessing
import queue
import statistics
import time
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from strathack.collect.running.workplace import Workplace
from strathack.models.acting import Act
from strathack.models.cores import State
from strathack.models.heads import PolicyOutput
from strathack.rl.acting.rollouts import Rollouts, shares
from strathack.rl.acting.serving import WorkerSpec
from strathack.rl.acting.workers import RayLauncher, RolloutWorkers
from strathack.rl.config import ActionNames, GameConfig
from strathack.rl.environments.simulators import make_simulator
from strathack.rl.environments.stepping import LaneSpec

KEYS = ("tty_chars", "tty_colors", "tty_cursor", "blstats")
MOVES = "more,north,east,south,west,northeast,southeast,southwest,northwest,search"
UNROLL = 32


class Free:
    """A policy that costs nothing: it takes moves that were drawn beforehand."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        drawn = torch.from_numpy(np.random.default_rng(0).integers(0, len(MOVES.split(",")), (4096, 512)))
        self._drawn, self._at = drawn, 0
        self._output = PolicyOutput(torch.zeros(512, 1), torch.zeros(512))
        self._log_prob = torch.zeros(512)

    def refresh(self) -> int:
        return 0

    def initial_state(self, lanes: int) -> State:
        return {}

    def act(self, inputs: Mapping[str, Tensor], state: State, uniforms: Tensor | None = None) -> tuple[Act, State]:
        lanes = len(inputs["first"])
        self._at = (self._at + 1) % len(self._drawn)
        output = PolicyOutput(self._output.action_logits[:lanes], self._output.value[:lanes])
        return Act(self._drawn[self._at, :lanes], None, self._log_prob[:lanes], None, output), {}


def bare(env: str, environments: int, seconds: float, start: object, counted: object) -> None:
    """Steps environments in turn, and puts the number of steps into ``counted``."""
    workplace = Workplace()
    game = GameConfig(actions=ActionNames.parse(MOVES))
    simulators = [make_simulator(env, game, KEYS) for _ in range(environments)]
    for seed, simulator in enumerate(simulators):
        simulator.reset(seed)
    moves = np.random.default_rng(0).integers(0, len(MOVES.split(",")), 4096).tolist()
    start.wait()
    steps, deadline = 0, time.monotonic() + seconds
    while time.monotonic() < deadline:
        for number, simulator in enumerate(simulators):
            if simulator.step(moves[(steps + number) % 4096])[2] is not None:
                simulator.reset(steps + number)
        steps += environments
    counted.put(steps)
    workplace.close()


def bare_rate(arguments: argparse.Namespace) -> float:
    context = multiprocessing.get_context("spawn")
    start, counted = context.Barrier(arguments.workers), context.Queue()
    environments = arguments.groups * arguments.envs
    work = (arguments.env, environments, arguments.seconds, start, counted)
    processes = [context.Process(target=bare, args=work) for _ in range(arguments.workers)]
    for process in processes:
        process.start()
    steps = sum(counted.get() for _ in processes)
    for process in processes:
        process.join()
    return steps / arguments.seconds


def our_rate(arguments: argparse.Namespace) -> tuple[float, str]:
    lane = LaneSpec(arguments.env, GameConfig(actions=ActionNames.parse(MOVES), no_progress=0), KEYS, (0,))
    spec = WorkerSpec(lane, arguments.groups, arguments.envs, UNROLL, slots=2, awake_seconds=arguments.awake)
    workers = RolloutWorkers(spec, arguments.workers, RayLauncher(arguments.workers, None), hang_seconds=60)
    rollouts = Rollouts(workers, Free())
    rollouts.start()
    for _ in range(4 * arguments.workers * arguments.groups):
        rollouts.get(timeout=120).release()
    steps, began = 0, time.monotonic()
    rollouts.stopwatch.seconds.clear()
    while time.monotonic() < began + arguments.seconds:
        try:
            unroll = rollouts.get(timeout=1)
        except queue.Empty:
            continue
        steps += int(unroll.arrays["acted"][:-1].sum())
        unroll.release()
    rate = steps / (time.monotonic() - began)
    spent = ", ".join(f"{name} {share:.0%}" for name, share in shares(rollouts.stopwatch.seconds).items())
    rollouts.stop()
    workers.close()
    return rate, spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env", default="NetHackScore-v0")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--groups", type=int, default=1)
    parser.add_argument("--envs", type=int, default=8, help="environments of an env group")
    parser.add_argument("--awake", type=float, default=0.002, help="seconds for which workers wait without sleeping")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    ratios = []
    for number in range(arguments.rounds):
        alone, (ours, spent) = bare_rate(arguments), our_rate(arguments)
        ratios.append(ours / alone)
        print(f"round {number}: bare {alone:8,.0f}  ours {ours:8,.0f}  ratio {ratios[-1]:.2f}   acting thread: {spent}")
    print(f"ours / bare, median: {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
