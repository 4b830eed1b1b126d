from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from strathack.collect.playing.clock import Clock
from strathack.collect.playing.seeds import Seeds
from strathack.collect.running.jobs import OwnPool, Work, make_dataset
from strathack.collect.running.pools import Failed
from strathack.dataset import Dataset
from strathack.dataset.schema import DEFAULT_OBSERVATIONS, game_name
from strathack.models.acting import Act
from strathack.models.cores import State
from strathack.models.heads import PolicyOutput
from strathack.rl.acting.recording import Recorder, provenance_of
from strathack.rl.acting.workers import MAX_FAILURES, RolloutWorkers, ThreadLauncher
from strathack.rl.config import ActionNames, GameConfig
from strathack.rl.environments.stepping import Lane, LaneSpec
from strathack.rl.evaluating.evaluation import described
from strathack.rl.evaluating.pool import EvaluationPool, EvaluationSpec, uniforms

KEYS = ("search", "esc", "quit", "northwest")


class Quitter:
    """Searches as often as a game's first number says, then leaves --More-- and quits: known without playing."""

    actions = KEYS
    observations = ("blstats",)
    strategies = ("wait", "leave")
    device = torch.device("cpu")

    def initial_state(self, lanes: int) -> State:
        return {"step": torch.zeros(lanes, dtype=torch.long), "searches": torch.zeros(lanes, dtype=torch.long)}

    def act(self, inputs: Mapping[str, Tensor], state: State, uniforms: Tensor) -> tuple[Act, State]:
        first = inputs["first"]
        step = torch.where(first, 0, state["step"])
        searches = torch.where(first, (uniforms[:, 0] * 40).long(), state["searches"])
        action = torch.where(step < searches, 0, 1 + (step - searches) % 3)
        output = PolicyOutput(torch.zeros(len(step), len(KEYS)), torch.zeros(len(step)))
        act = Act(action, (action > 0).long(), torch.zeros(len(step)), None, output)
        return act, {"step": step + 1, "searches": searches}


def searches(seed: int) -> int:
    return int(uniforms(np.array([seed]), np.array([0]))[0, 0] * 40)


def evaluate(folder: Path, seeds: str, player: Any, *, groups: int, envs: int, keep: tuple[str, ...] = ()) -> Dataset:
    game = GameConfig(actions=ActionNames(KEYS), max_steps=60)
    lane = LaneSpec("NetHackChallenge-v0", game, player.observations, (), recorded=DEFAULT_OBSERVATIONS)
    recorder = Recorder(provenance_of("quitter", {"fix_moon_phase": True}, keep), player.strategies, Clock("seed"))
    spec = EvaluationSpec(lane, groups, envs, steps=1, slots=1, make_record=recorder)
    work = Work(
        jobs={game_name(seed): seed for seed in Seeds.parse(seeds)},
        by=OwnPool(lambda: EvaluationPool(RolloutWorkers(spec, 1, ThreadLauncher(), 60), player)),
        describe=partial(described, True),
    )
    made = make_dataset(folder, {"seeds": seeds}, work, quiet=True)
    assert not made.failures
    return Dataset(folder)


def test_every_seed_is_played_once_to_its_known_end(tmp_path: Path) -> None:
    dataset = evaluate(tmp_path / "games", "0:23", Quitter(), groups=2, envs=4)
    assert sorted(dataset.rows["core"].tolist()) == list(range(23))
    for game in dataset:
        seed = int(game.row["core"])
        assert (game.info["end"], game.info["score"], len(game)) == ("quit", 0, searches(seed) + 3)
        assert game.action_names().tolist() == ["search"] * searches(seed) + ["esc", "quit", "northwest"]
        assert game.strategy.names(slice(None)).tolist() == ["wait"] * searches(seed) + ["leave"] * 3
    assert len({searches(seed) for seed in range(23)}) > 10


def test_what_is_played_beside_a_game_does_not_change_it(tmp_path: Path) -> None:
    known = None
    for number, (groups, envs) in enumerate([(1, 1), (2, 3), (3, 8)]):
        rows = evaluate(tmp_path / str(number), "5:14", Quitter(), groups=groups, envs=envs).rows
        told = sorted(rows[["core", "steps", "score", "keys_sha256", "frames_sha256"]].tolist())
        assert known in (None, told)
        known = told


def test_an_evaluation_goes_on_where_it_was(tmp_path: Path) -> None:
    evaluate(tmp_path / "games", "3:7", Quitter(), groups=1, envs=2)
    before = {path.name for path in (tmp_path / "games").glob("*.h5")}
    dataset = evaluate(tmp_path / "games", "3:9", Quitter(), groups=1, envs=2)
    assert sorted(dataset.rows["core"].tolist()) == list(range(3, 9))
    assert before


def test_games_of_an_actor_that_is_lost_are_played_again(tmp_path: Path) -> None:
    class Falters(EvaluationSpec):
        def make_group(self, place: tuple[int, ...], arrays: Any) -> Any:
            one = super().make_group(place, arrays)
            if place[1] == 0:  # the first generation
                step, count = one.step, iter(range(100))

                def faltering(slot: int, row: int) -> Any:
                    if next(count) > 6:
                        raise OSError("lost on purpose")
                    return step(slot, row)

                one.step = faltering
            return one

    lane = LaneSpec(
        "NetHackChallenge-v0", GameConfig(actions=ActionNames(KEYS)), ("blstats",), (), DEFAULT_OBSERVATIONS
    )
    recorder = Recorder(provenance_of("quitter", {}, ()), Quitter.strategies, Clock("seed"))
    spec = Falters(lane, 1, 4, steps=1, slots=1, make_record=recorder)
    failed, finished = [], []
    with closing(EvaluationPool(RolloutWorkers(spec, 1, ThreadLauncher(), 60), Quitter())) as pool:
        jobs = list(range(8))
        while jobs or pool.running:
            while jobs and pool.has_room:
                pool.submit(jobs.pop(), None)
            for outcome in pool.poll():
                (failed if isinstance(outcome, Failed) else finished).append(outcome.job)
                jobs += [outcome.job] if isinstance(outcome, Failed) else []
    assert sorted(finished) == list(range(8))
    assert failed


def test_a_game_that_its_simulator_fails_at_is_given_up_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = Lane.step

    def failing(self: Lane, *arguments: Any) -> Any:
        if self._seed == 5 and self._steps == 2:
            raise OSError("lost on purpose")
        return step(self, *arguments)

    monkeypatch.setattr(Lane, "step", failing)
    lane = LaneSpec(
        "NetHackChallenge-v0", GameConfig(actions=ActionNames(KEYS)), ("blstats",), (), DEFAULT_OBSERVATIONS
    )
    recorder = Recorder(provenance_of("quitter", {}, ()), Quitter.strategies, Clock("seed"))
    spec = EvaluationSpec(lane, 2, 4, steps=1, slots=1, make_record=recorder)
    work = Work(
        jobs={game_name(seed): seed for seed in range(10)},
        by=OwnPool(lambda: EvaluationPool(RolloutWorkers(spec, 1, ThreadLauncher(), 60), Quitter())),
        describe=partial(described, True),
        retries=MAX_FAILURES,
    )
    made = make_dataset(tmp_path / "games", {}, work, quiet=True)
    assert list(made.failures) == ["game_5"], "though it has failed more often in a row than workers may"
    assert "lost on purpose" in made.failures["game_5"]
    assert {game.name for game in made.games} == {game_name(seed) for seed in range(10) if seed != 5}


def test_draws_depend_on_a_games_seed_and_step_alone() -> None:
    seeds, steps = np.repeat(np.arange(200), 50), np.tile(np.arange(50), 200)
    values = uniforms(seeds, steps)
    assert values.dtype == np.float32
    assert values.min() >= 0
    assert values.max() < 1
    assert len(np.unique(values)) > 0.99 * values.size
    shuffled = np.random.default_rng(0).permutation(len(seeds))
    np.testing.assert_array_equal(uniforms(seeds[shuffled], steps[shuffled]), values[shuffled])
    # Uniform, and neighbours in seed or step are not alike.
    assert np.histogram(values, 10, (0, 1))[0].std() / values.size < 0.003
    grid = values[:, 1].reshape(200, 50)
    assert abs(np.corrcoef(grid[:-1].ravel(), grid[1:].ravel())[0, 1]) < 0.05
    assert abs(np.corrcoef(grid[:, :-1].ravel(), grid[:, 1:].ravel())[0, 1]) < 0.05


def test_the_games_replay_frame_for_frame(tmp_path: Path, run: Any) -> None:
    evaluate(tmp_path / "games", "0:4", Quitter(), groups=1, envs=4, keep=DEFAULT_OBSERVATIONS)
    ended = run("dataset", "verify", tmp_path / "games", "--replay", "--workers", 0)
    assert ended.status == 0, ended.err


@pytest.mark.parametrize("keep", [(), ("blstats",)])
def test_frames_are_kept_where_they_are_asked_for(tmp_path: Path, keep: tuple[str, ...]) -> None:
    dataset = evaluate(tmp_path / "games", "0:2", Quitter(), groups=1, envs=2, keep=keep)
    assert dataset.observations == keep
