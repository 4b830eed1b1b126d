"""The environment in which games are collected, against NLE's own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nle import nethack
from nle.env.tasks import NetHackChallenge

from strathack.collect.playing.environment import Challenge
from strathack.dataset.schema import OBSERVATIONS

OPTIONS = {
    "no_progress_timeout": 30,
    "max_episode_steps": 200,
    "observation_keys": tuple(OBSERVATIONS),
    "character": "@",
}
QUIT = [*b"#quit", *b"\ry\r\r\r\r"]


def play(kind, seed, actions):
    """What each step gives: arrays, reward, ends and information."""
    env = kind(**OPTIONS, fix_moon_phase=True)
    try:
        type(env.nethack).set_initial_seeds(env.nethack, seed, seed, False, None)
        env.reset()
        for action in actions:
            observation, *rest = env.step(action)
            yield {key: array.copy() for key, array in observation.items()}, *rest
            if rest[1] or rest[2]:
                return
    finally:
        env.close()


def same_games(seed, actions):
    steps = 0
    for own, nles in zip(play(Challenge, seed, actions), play(NetHackChallenge, seed, actions), strict=True):
        assert own[1:] == nles[1:]
        for key in OBSERVATIONS:
            assert np.array_equal(own[0][key], nles[0][key]), key
        steps += 1
    return steps


@settings(max_examples=10)
@given(st.integers(0, 1000), st.lists(st.integers(0, len(nethack.ACTIONS) - 1), max_size=250))
def test_random_play_is_as_in_nle(seed, actions):
    same_games(seed, actions)


@pytest.mark.parametrize("keys", [QUIT, [27] * 60, [ord("s")] * 250], ids=["quit", "no-progress", "step-limit"])
def test_each_end_is_as_in_nle(keys):
    indices = [nethack.ACTIONS.index(key) for key in keys]
    assert 0 < same_games(7, indices) <= len(keys)
