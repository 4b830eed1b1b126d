from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tasks import KEYS, LENGTH

from strathack.collect.playing.seeds import Seeds
from strathack.dataset.errors import RunError
from strathack.rl.acting import serving
from strathack.rl.acting import workers as workers_module
from strathack.rl.acting.serving import WorkerSpec
from strathack.rl.acting.workers import Began, Event, RayLauncher, Ready, RolloutWorkers, ThreadLauncher
from strathack.rl.config import GameConfig
from strathack.rl.environments.stepping import EndedGame, Lane, LaneSpec

RECALL = LaneSpec("tasks:Recall", GameConfig(), KEYS, (0,))


def spec(lane: LaneSpec = RECALL, **changes: object) -> WorkerSpec:
    return replace(WorkerSpec(lane, groups=2, envs=3, steps=5), **changes)


@contextmanager
def acting(
    spec: WorkerSpec, count: int = 1, launcher: object = None, hang_seconds: float = 30
) -> Iterator[RolloutWorkers]:
    workers = RolloutWorkers(spec, count, launcher or ThreadLauncher(), hang_seconds)
    try:
        yield workers
    finally:
        workers.close()


def drive(
    workers: RolloutWorkers, rounds: int, choose: Callable[[int, int], int] = lambda index, row: 0
) -> list[Event]:
    """Steps every env group so many rows on, in slot 0 alone, its last row followed by row 0; returns what happened."""
    seen: list[Event] = []
    done = dict.fromkeys(range(len(workers.arrays)), 0)
    deadline = time.monotonic() + 60
    while any(rows < rounds for rows in done.values()):
        assert time.monotonic() < deadline
        for event in workers.events(0.1):
            seen.append(event)
            if isinstance(event, Began):
                for index in event.groups:
                    workers.begin(index, 0)
            elif isinstance(event, Ready) and done[event.index] < rounds:
                arrays, row = workers.arrays[event.index], event.row
                if row == workers.spec.steps:
                    for array in arrays.values():
                        array[0, 0] = array[0, row]
                    row = 0
                arrays["actions"][0, row] = choose(event.index, row)
                done[event.index] += 1
                workers.step(event.index, 0, row)
    return seen


def test_slices_play_games_and_tell_of_their_ends(nothing_left: None) -> None:
    with acting(spec(), count=2) as workers:
        seen = drive(workers, 20)
        assert len(workers.arrays) == 4
        # Frame 18 is in row 3, since a slot's last row is the next one's first.
        first = workers.arrays[0]["first"][0, :5]
        assert first.all(1).tolist() == [False, False, False, True, False]
        assert (workers.arrays[0]["previous_action"][0, :5] == np.where(first, 255, 0)).all()
    games = [event for event in seen if isinstance(event, EndedGame)]
    assert len(games) >= 4 * 3 * 2
    assert {(game.steps, game.end, abs(game.reward)) for game in games} == {(LENGTH, "over", 1.0)}
    assert len({game.seed for game in games}) == len(games)


def test_a_worker_may_have_more_env_groups_than_one_message_passes_on(
    nothing_left: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (serving, workers_module):
        monkeypatch.setattr(module, "MOST_DESCRIPTORS", 2)
    with acting(spec(groups=5, envs=1)) as workers:
        seen = drive(workers, 1)
    assert {event.index for event in seen if isinstance(event, Ready)} == set(range(5))


def test_frames_and_rewards_lie_where_the_plain_loop_finds_them() -> None:
    lane = replace(RECALL, env="NetHackScore-v0", game=GameConfig(max_steps=4, seeds=Seeds([7])))
    with acting(spec(lane, groups=1, envs=2)) as workers:
        drive(workers, 5, lambda index, row: row)
        arrays = workers.arrays[0]
    plain = Lane(lane, iter([7, 7]))
    plain.begin()
    for row in range(5):
        for key in KEYS:
            assert (arrays[key][0, row, 1] == plain.observation[key]).all(), (row, key)
        # The game is cut after four steps; frame 4 shows what it came to, and frame 5 a new game.
        assert arrays["acted"][0, row].tolist() == [row < 4] * 2
        assert arrays["first"][0, row].tolist() == [row == 0] * 2
        if row < 4:
            reward, end = plain.step(row)
            assert arrays["rewards"][0, row, 1] == np.float32(reward)
            assert end == ("cut" if row == 3 else None)
    assert arrays["first"][0, 5].all()
    assert not arrays["ended"][0, :5].any()
    assert (arrays["tty_chars"][0, 5] == arrays["tty_chars"][0, 0]).all()
    plain.close()


@pytest.mark.parametrize("keys", [KEYS, ("tty_chars", "tty_colors", "tty_cursor")])
def test_a_game_without_progress_is_cut_whatever_the_policy_sees(keys: tuple[str, ...]) -> None:
    lane = Lane(LaneSpec("NetHackChallenge-v0", GameConfig(no_progress=5), keys, (0,)), iter([1]))
    lane.begin()
    ends = [lane.step(24)[1] for _ in range(10)]  # extended command: a prompt
    assert ends[:6] == [None] * 5 + ["cut"]
    assert lane.played("cut").score == 0
    lane.close()


def events_of(*heard: list[Event]) -> RolloutWorkers:
    """Rollout workers that do nothing but tell of what is given, one list after the other."""
    workers = RolloutWorkers.__new__(RolloutWorkers)
    told = iter(heard)
    workers.events = lambda timeout: iter(next(told, []))
    return workers


def test_what_a_replaced_worker_had_done_is_forgotten() -> None:
    """Otherwise its new env groups would be asked to go on from a row that they have not come to."""
    began, others = Began(range(2), "died"), Ready(2, 0, 17)
    workers = events_of([Ready(0, 0, 17), others], [began], [Ready(1, 0, 0)])
    assert workers.gathered(0.1, 3) == [others, began, Ready(1, 0, 0)]


def test_a_pause_of_the_machine_is_no_reason_to_replace_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2] / "helpers"))
    with acting(spec(), hang_seconds=0.5) as workers:
        drive(workers, 3)
        (worker,) = workers._workers
        now = time.monotonic()
        workers._look_around(now)
        worker.asked = {0: now}
        workers._look_around(now + 60)
        assert (workers.lost, worker.asked) == (0, {0: now + 60}), "for a minute, nobody was awake"
        workers._look_around(now + 60.4)
        assert workers.lost == 0
        workers._look_around(now + 61)
        assert workers.lost == 1
        drive(workers, 1)  # the one that replaces it


def test_seeds_are_fresh_or_from_a_list() -> None:
    fresh = [next(RECALL.seeds(0, lane)) for lane in range(5)]
    assert len(set(fresh)) == 5
    assert min(fresh) >= 2**30
    listed = replace(RECALL, game=GameConfig(seeds=Seeds([3, 5, 6]))).seeds(0)
    assert {next(listed) for _ in range(50)} == {3, 5, 6}


def test_a_reward_that_is_not_finite_names_environment_and_seed(nothing_left: None) -> None:
    lane = replace(RECALL, env="tasks:Worthless", game=GameConfig(seeds=Seeds([9])))
    with (
        acting(spec(lane)) as workers,
        pytest.raises(RunError, match="tasks:Worthless: a reward of nan at step 2 of seed 9"),
    ):
        drive(workers, 10)


@pytest.mark.parametrize(
    ("what", "why"),
    [
        pytest.param("die", "died", marks=pytest.mark.slow),
        pytest.param("hang", "hung for 3 seconds", marks=pytest.mark.slow),
        pytest.param("raise", "something broke", marks=pytest.mark.slow),
    ],
)
def test_an_actor_that_is_lost_is_replaced_and_the_others_go_on(
    what: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nothing_left: None
) -> None:
    monkeypatch.setenv("STRATHACK_TEST_FOLDER", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2] / "helpers"))
    lane = replace(RECALL, env="tasks:Dying")
    with acting(spec(lane), 2, RayLauncher(2, None), hang_seconds=3) as workers:
        chosen = iter(range(10**6))

        def choose(index: int, row: int) -> int:
            if next(chosen) == 20:
                (tmp_path / what).touch()
            return 0

        seen = drive(workers, 30, choose)
        assert workers.lost == 1
        lost = [event.lost for event in seen if isinstance(event, Began)]
        assert lost[:2] == ["", ""]
        assert why in lost[2]
