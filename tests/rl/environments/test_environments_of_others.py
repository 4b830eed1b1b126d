"""Environments that are not ours: wrapped, registered with wrappers, of few keys, of odd types, or broken."""

import gymnasium
import numpy as np
import pytest
from nle import nethack
from nle.env import NLE
from nle.env.tasks import NetHackScore

pytest.importorskip("torch")

from strathack.dataset.errors import InputError
from strathack.rl.config import ActionNames, GameConfig
from strathack.rl.environments.simulators import GymnasiumSimulator, NLESimulator, make_simulator

HERE = f"{__name__}:"
KEYS = ("tty_chars", "blstats")


def nle_env():
    return NetHackScore(observation_keys=KEYS)


class Wrapped(gymnasium.Wrapper):
    pass


class Holder(gymnasium.Env):
    """Holds an NLE without being a wrapper."""

    def __init__(self):
        self.inner = nle_env()
        self.observation_space, self.action_space = self.inner.observation_space, self.inner.action_space

    def reset(self, *, seed=None, options=None):
        return self.inner.reset(seed=seed)

    def step(self, action):
        return self.inner.step(action)

    def close(self):
        self.inner.close()


class Floats(gymnasium.ObservationWrapper):
    def __init__(self, env=None, tell=True):
        super().__init__(env or nle_env())
        if tell:
            box = gymnasium.spaces.Box(0, 1, (24, 80), np.float32)
            self.observation_space = gymnasium.spaces.Dict({**self.env.observation_space, "tty_chars": box})

    def observation(self, observation):
        return {**observation, "tty_chars": observation["tty_chars"].astype(np.float32) / 255}


def floats_untold():
    return Floats(tell=False)


class Fewer(gymnasium.ActionWrapper):
    """Two of the actions, and names of all."""

    def __init__(self, env=None):
        super().__init__(env or Holder())
        self.env.unwrapped.action_names = ("north", "east", "south")
        self.action_space = gymnasium.spaces.Discrete(2)

    def action(self, action):
        return action


class Named(Fewer):
    action_names = ("up", "right")


class Drifting(Holder):
    """Plays another game at each reset, whatever the seed."""

    def __init__(self):
        box = gymnasium.spaces.Box(0, 255, (24, 80), np.uint8)
        self.observation_space = gymnasium.spaces.Dict({"tty_chars": box})
        self.action_space, self.games = gymnasium.spaces.Discrete(3), 0

    def reset(self, *, seed=None, options=None):
        self.games += 1
        return {"tty_chars": np.full((24, 80), self.games, np.uint8)}, {}

    def step(self, action):
        return self.reset()[0], 0.0, False, False, {}

    def close(self):
        pass


def made(name):
    return make_simulator(HERE + name, GameConfig(), KEYS)


def screens(simulator, seed):
    frames = [simulator.reset(seed)["tty_chars"].copy()]
    frames += [simulator.step(action % 8)[0]["tty_chars"].copy() for action in range(12)]
    return np.stack(frames)


@pytest.mark.parametrize("name", ["nle_env", "Holder", "wrapped_twice"])
def test_an_nle_under_any_wrapper_plays_the_seed_that_is_given(name):
    simulator, plain = made(name), NLESimulator(nle_env(), ("north", "east"), KEYS)
    assert np.array_equal(simulator.reset(5)["tty_chars"], plain.reset(5)["tty_chars"])
    again = screens(simulator, 5)
    assert np.array_equal(again, screens(simulator, 5))
    assert not np.array_equal(again, screens(simulator, 6))
    assert simulator.keeps_to_seeds()
    simulator.close()
    plain.close()


class Told(gymnasium.Wrapper):
    """Ends the first step as it is told to."""

    def __init__(self, status, ascended=False, **more):
        super().__init__(nle_env())
        self.info = {"end_status": status, "is_ascended": ascended, **more}

    def step(self, action):
        observation, reward, _, truncated, info = self.env.step(action)
        return observation, reward, True, truncated, {**info, **self.info}


@pytest.mark.parametrize(
    ("env", "end"),
    [
        (Told(-1), "cut"),
        (Told(1), "over"),
        (Told(2), "success"),
        (Told(1, ascended=True), "success"),
        (Told(0, success=True), "success"),
    ],
)
def test_how_an_nle_under_a_wrapper_ended_is_what_nle_says(env, end):
    simulator = GymnasiumSimulator(env, "told")
    simulator.reset(1)
    assert simulator.step(0)[2] == end
    simulator.close()


def wrapped_twice():
    return Wrapped(gymnasium.wrappers.TimeLimit(nle_env(), 1000))


def test_an_environment_that_ignores_its_seeds_is_told():
    assert not made("Drifting").keeps_to_seeds()


def test_screens_that_are_no_bytes_are_refused_be_it_by_their_space_or_when_they_are_seen():
    with pytest.raises(InputError, match="shows tty_chars as float32; expected uint8"):
        made("Floats")
    with pytest.raises(InputError, match="shows tty_chars as float32; expected uint8"):
        made("floats_untold").reset(0)


def test_names_and_actions_are_one_to_one():
    with pytest.raises(InputError, match=r"has 2 actions and 3 names for them \(action_names\); expected as many"):
        made("Fewer")
    assert made("Named").actions == ("up", "right")
    simulator = made("wrapped_twice")
    assert simulator.actions[:2] == ("more", "north"), "NLE's own names, in its own order"
    simulator.close()


def test_wrappers_of_a_registered_id_are_kept():
    spec = gymnasium.envs.registration.WrapperSpec("Floats", f"{__name__}:Wrapped", {})
    name = "NetHackOfOthers-v0"
    gymnasium.register(name, entry_point="nle.env.tasks:NetHackScore", additional_wrappers=(spec,))
    try:
        simulator = make_simulator(name, GameConfig(), KEYS)
        assert isinstance(simulator, GymnasiumSimulator)
        inner, seen = simulator._env, []
        while isinstance(inner, gymnasium.Wrapper):
            seen.append(type(inner).__name__)
            inner = inner.env
        assert "Wrapped" in seen
        simulator.close()
        with pytest.raises(InputError, match="actions: only plain environments of NLE and MiniHack can be given it"):
            make_simulator(name, GameConfig(actions=ActionNames.parse("north")), KEYS)
    finally:
        del gymnasium.registry[name]


class FewKeys(NLE):
    """As MiniHack-WoD-Hard-Restricted-v0: whatever is asked for, it has a few keys of its own."""

    def __init__(self, *, actions=None, no_progress_timeout=None, **options):
        super().__init__(actions=(nethack.CompassDirection.N, nethack.Command.ZAP), **options)

    def _is_episode_end(self, observation):
        return self.StepStatus.RUNNING

    def _reward_fn(self, last_observation, action, observation, end_status):
        return 0.0


class Unmakeable(FewKeys):
    def __init__(self, **options):
        raise FileNotFoundError("boxoban-levels: download them first")


def test_environments_of_few_keys_and_those_that_cannot_be_made():
    gymnasium.register("FewKeys-v0", entry_point=FewKeys)
    gymnasium.register("Unmakeable-v0", entry_point=Unmakeable)
    try:
        simulator = make_simulator("FewKeys-v0", GameConfig(), KEYS)
        assert simulator.actions == ("north", "zap")
        simulator.close()
        with pytest.raises(InputError, match="actions: FewKeys-v0 has no east; it has north, zap"):
            make_simulator("FewKeys-v0", GameConfig(actions=ActionNames.parse("north,east")), KEYS)
        with pytest.raises(InputError, match=r"cannot be made \(FileNotFoundError: boxoban-levels"):
            make_simulator("Unmakeable-v0", GameConfig(), KEYS)
    finally:
        del gymnasium.registry["FewKeys-v0"], gymnasium.registry["Unmakeable-v0"]
