"""The sparse tasks: 1 where a depth or a level is first reached, and nothing before."""

import numpy as np
import pytest
from nle import nethack

from strathack.dataset.actions import ACTION_NAMES
from strathack.dataset.errors import InputError
from strathack.rl.config import ActionNames, GameConfig
from strathack.rl.environments.simulators import NLESimulator, make_simulator
from strathack.rl.environments.tasks import Depth2, Depth4, Level2, Level4

KEYS = ("tty_chars", "blstats")


def simulator(env, **game):
    return make_simulator(env, GameConfig(**game), KEYS)


def played(task, seed, names):
    task.reset(seed)
    for name in names:
        _, reward, end = task.step(task.actions.index(name))
        yield reward, end


def test_the_first_step_at_the_depth_is_worth_1_and_ends_the_game():
    task = simulator("Depth-2")
    assert isinstance(task, NLESimulator), "with all keys and no limits of its own, as the other environments of NLE"
    assert task.actions == ACTION_NAMES
    steps = list(played(task, 180, names_of((9, 12, 12, 13, 93, 17, 18, 17, 19))))
    assert steps[:-1] == [(0.0, None)] * 8
    assert steps[-1] == (1.0, "success")
    task.close()


def names_of(indices):
    return [ACTION_NAMES[index] for index in indices]


def test_deeper_and_other_tasks_do_not_end_there():
    for name in ("Depth-4", "Level-2", "Level-4"):
        task = simulator(name)
        steps = list(played(task, 180, names_of((9, 12, 12, 13, 93, 17, 18, 17, 19))))
        assert steps == [(0.0, None)] * 9
        task.close()


@pytest.mark.parametrize(
    ("task", "place", "least"),
    [
        (Depth2, nethack.NLE_BL_DEPTH, 2),
        (Depth4, nethack.NLE_BL_DEPTH, 4),
        (Level2, nethack.NLE_BL_XP, 2),
        (Level4, nethack.NLE_BL_XP, 4),
    ],
)
def test_what_each_task_looks_at(task, place, least):
    env = task(observation_keys=("blstats",))
    blstats = np.full(27, 99)
    for value, reached in ((least - 1, False), (least, True), (least + 3, True)):
        blstats[place] = value
        observation = [blstats] * (env._blstats_index + 1)
        end = env._is_episode_end(observation)
        assert (end == task.StepStatus.TASK_SUCCESSFUL) is reached
        assert env._reward_fn(None, 0, observation, end) == float(reached)
    assert env._reward_fn(None, 0, None, task.StepStatus.DEATH) == 0.0
    env.close()


def test_they_take_the_settings_of_nles_environments():
    task = simulator("Level-2", actions=ActionNames.parse("north,down,more"))
    assert task.actions == ("north", "down", "more")
    task.close()
    with pytest.raises(InputError, match="penalty_step: Depth-2 has no such penalty"):
        simulator("Depth-2", penalty_step=-0.1)
    with pytest.raises(InputError, match=r"env: 'Depth-3' is unknown; did you mean 'Depth-\d'\?"):
        simulator("Depth-3")
