"""An evaluation's steps a second, relative to inference and stepping alone, one after the other in one process.

Alone: the same number of games as on our side; a policy chooses actions for all games at once, then each game is
stepped. Ours: the evaluation pool of `strathack evaluate` with rollout workers by Ray, every game recorded. Both sides
play the same seeds to the same limit. Rounds of the two sides alternate.
"""

from __future__ import annotations

import argparse
import statistics
import time
from itertools import count
from pathlib import Path

import numpy as np
import torch

from strathack.collect.playing.clock import Clock
from strathack.collect.running.workplace import Workplace
from strathack.dataset.actions import ACTION_NAMES
from strathack.dataset.schema import DEFAULT_OBSERVATIONS
from strathack.models.acting import ActingConfig
from strathack.models.policy import Policy
from strathack.models.presets import preset
from strathack.models.saving import load_policy
from strathack.rl.acting.recording import Recorder, provenance_of
from strathack.rl.acting.workers import RayLauncher, RolloutWorkers
from strathack.rl.config import ActionNames, GameConfig
from strathack.rl.environments.stepping import Lane, LaneSpec
from strathack.rl.evaluating.players import PolicyPlayer
from strathack.rl.evaluating.pool import EvaluationPool, EvaluationSpec, uniforms

ENV, FIRST_SEED = "NetHackChallenge-v0", 100_000


def lane_spec(player: PolicyPlayer, arguments: argparse.Namespace) -> LaneSpec:
    keys = "" if player.actions == ACTION_NAMES else ",".join(player.actions)
    game = GameConfig(actions=ActionNames.parse(keys), max_steps=arguments.max_steps)
    return LaneSpec(ENV, game, player.observations, (), recorded=DEFAULT_OBSERVATIONS)


def alone(player: PolicyPlayer, arguments: argparse.Namespace) -> float:
    """Steps a second of a plain loop in this process."""
    torch.set_num_threads(1)
    workplace = Workplace()
    games = arguments.workers * arguments.groups * arguments.envs
    lanes = [Lane(lane_spec(player, arguments), count(FIRST_SEED + 1000 * lane)) for lane in range(games)]
    for lane in lanes:
        lane.begin()
    state, first = player.initial_state(games), np.ones(games, bool)
    previous = np.full(games, 255, np.uint8)
    steps, began = 0, time.monotonic()
    while time.monotonic() < began + arguments.seconds:
        frames = {key: np.stack([lane.observation[key] for lane in lanes]) for key in player.observations}
        inputs = {key: torch.from_numpy(value) for key, value in frames.items()}
        inputs |= {"first": torch.from_numpy(first), "previous_action": torch.from_numpy(previous)}
        drawn = torch.from_numpy(uniforms(np.arange(games), np.full(games, steps)))
        act, state = player.act(inputs, state, drawn)
        actions = act.action.numpy()
        for number, lane in enumerate(lanes):
            first[number] = lane.step(int(actions[number]))[1] is not None
            if first[number]:
                lane.begin()
        previous = np.where(first, 255, actions).astype(np.uint8)
        steps += games
    rate = steps / (time.monotonic() - began)
    workplace.close()
    return rate


def ours(player: PolicyPlayer, arguments: argparse.Namespace) -> float:
    """Steps a second of the evaluation pool."""
    recorder = Recorder(provenance_of("benchmark", {}, ()), player.strategies, Clock("seed"))
    spec = EvaluationSpec(
        lane_spec(player, arguments), arguments.groups, arguments.envs, steps=1, slots=1, make_record=recorder
    )
    pool = EvaluationPool(RolloutWorkers(spec, arguments.workers, RayLauncher(arguments.workers, None), 60), player)
    seeds = count(FIRST_SEED)
    began, before = None, 0
    while began is None or time.monotonic() < began + arguments.seconds:
        while pool.has_room:
            pool.submit(next(seeds), None)
        pool.poll()
        if began is None and pool.steps() > 2000:
            began, before = time.monotonic(), pool.steps()
    rate = (pool.steps() - before) / (time.monotonic() - began)
    pool.close()
    return rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "policy", nargs="?", type=Path, help="a checkpoint; by default symbols-small with fresh weights"
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--groups", type=int, default=2)
    parser.add_argument("--envs", type=int, default=8)
    parser.add_argument("--max-steps", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    policy = Policy(preset("symbols-small")) if arguments.policy is None else load_policy(arguments.policy)
    player = PolicyPlayer(policy, ActingConfig())
    ratios = []
    for number in range(arguments.rounds):
        bare, mine = alone(player, arguments), ours(player, arguments)
        ratios.append(mine / bare)
        print(f"round {number}: one after another {bare:7,.0f}  evaluated {mine:7,.0f}  ratio {ratios[-1]:.2f}")
    print(f"evaluated / one after another, median: {statistics.median(ratios):.2f}; the aim is 0.5")


if __name__ == "__main__":
    main()
