"""One game from its seed to a shard: every way to end, played by scripted demonstrators."""

import io
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import pytest
from looking import BOTS
from made_up_games import provenance
from nle import nethack

from strathack.collect.demonstrators import CallableDemonstrator, make_demonstrator
from strathack.collect.demonstrators.base import PlayAgainError
from strathack.collect.options import DemonstrationOptions
from strathack.collect.playing.characters import Roles
from strathack.collect.playing.clock import Clock
from strathack.collect.playing.environment import Setup, challenge
from strathack.collect.playing.game import PlayedGame, SkippedSeed, play_game, progression
from strathack.collect.playing.session import GameOverError
from strathack.collect.playing.tracker import LabelTracker
from strathack.dataset.schema import OBSERVATIONS, row_values
from strathack.dataset.shard import read_text

A = nethack.ACTIONS.index
SEARCH, ESC, WEST = A(nethack.Command.SEARCH), A(nethack.Command.ESC), A(nethack.CompassDirection.W)
QUIT = [A(nethack.Command.EXTCMD), *(A(ord(c)) for c in "quit"), A(nethack.MiscAction.MORE), A(ord("y"))]
PRAY = [A(nethack.Command.PRAY), A(ord("y")), *[A(nethack.MiscAction.MORE)] * 6]


class Scripted:
    """A demonstrator whose play is a function of the session."""

    name, version, bot, notice = "scripted", "1", "", None

    def __init__(self, play):
        self.play = play

    def make_labels(self):
        return LabelTracker(before="init", outside="recover")

    def warm_up(self):
        pass


def repeat(actions, times):
    def play(session):
        for action in [*actions] * times:
            if session.step(action)[2]:
                return

    return play


class Played:
    """A played game and its arrays."""

    def __init__(self, play, *, seed=5, **options):
        demonstrator = play if hasattr(play, "play") else Scripted(play)
        options = DemonstrationOptions(clock=Clock("seed"), **options)
        self.game = play_game(options, demonstrator, seed, provenance(observations=options.observations))
        assert isinstance(self.game, PlayedGame)
        # Read whole and closed: an HDF5 file over a Python object must not be open when the interpreter ends.
        with h5py.File(io.BytesIO(self.game.shard)) as file:
            self.row = row_values(file["games"][0])
            group = file[f"data/game_{seed}"]
            self.arrays = {name: group[name][...] for name in ("actions", "rewards", "dones", "hihack_strategy")}
            self.arrays |= {f"obs/{key}": frames[...] for key, frames in group["obs"].items()}
            self.labels = {name: named(group[name]) for name in ("strategy", "substrategy")}
            self.attributes = {name: read_text(value) for name, value in group.attrs.items()}

    def __getattr__(self, column):
        return self.row[column]


def named(labels):
    names = {code: name for name, code in h5py.check_enum_dtype(labels.dtype).items()}
    return [names[code] for code in labels[...]]


@pytest.fixture(autouse=True)
def temporary_folders_are_gone(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield
    assert not list(tmp_path.iterdir())


def test_a_death_and_its_cause():
    # Praying over and over angers the gods until they strike.
    played = Played(repeat(PRAY, 60), character="mon-hum-neu-mal")
    assert (played.end, played.completeness) == ("death", "complete")
    assert played.cause.startswith("killed by")
    fields = dict(part.split("=", 1) for part in played.attributes["xlogfile"].split("\t"))
    assert played.cause.startswith(fields["death"])
    assert played.score == int(fields["points"])
    assert played.turns == int(fields["turns"])
    assert (played.role, played.race, played.gender, played.alignment) == ("Mon", "Hum", "Mal", "Neu")


def test_a_game_that_is_quit():
    played = Played(repeat(QUIT, 1))
    assert (played.end, played.cause, played.completeness) == ("quit", "quit", "complete")
    assert played.steps == len(QUIT)


def test_a_game_that_a_demonstrator_cannot_play_is_played_by_the_one_it_names():
    other = Scripted(repeat(QUIT, 1))
    other.bot = "other"

    def play(session):
        session.step(WEST)
        raise PlayAgainError(other)

    played = Played(play)
    assert (played.end, played.steps) == ("quit", len(QUIT))  # from its start
    assert played.attributes["bot"] == "other"
    assert "bot" not in Played(repeat(QUIT, 1)).attributes


def test_an_abort_of_the_simulator():
    played = Played(repeat([ESC], 2000))
    assert (played.end, played.cause, played.completeness) == ("abort", "no progress", "truncated")
    assert 400 < played.steps <= 1001  # NLE looks at its own limit twice a step


def test_a_limit_on_steps():
    played = Played(repeat([SEARCH], 500), max_steps=123)
    assert (played.end, played.steps, played.completeness) == ("step_limit", 123, "truncated")


def test_a_limit_on_seconds():
    def play(session):
        while not session.step(SEARCH)[2]:
            time.sleep(0.05)

    played = Played(play, max_seconds=0.5)
    assert (played.end, played.completeness) == ("time_limit", "truncated")
    assert 2 <= played.steps <= 11


def test_a_game_that_is_played_again_has_one_limit_of_seconds_for_both():
    def play(session):
        while not session.step(SEARCH)[2]:
            time.sleep(0.05)

    def play_first(session):
        play(session)
        again = Scripted(play)
        raise PlayAgainError(again)

    began = time.monotonic()
    played = Played(play_first, max_seconds=0.5)
    assert (played.end, played.steps) == ("time_limit", 1)
    assert time.monotonic() - began >= 0.5


def test_a_demonstrator_that_stops_early():
    played = Played(repeat([SEARCH], 7))
    assert (played.end, played.steps, played.completeness) == ("demonstrator_stopped", 7, "truncated")


@pytest.mark.parametrize(
    ("error", "line"),
    [(KeyError("no\n  plan"), r"KeyError: 'no\n plan'"), (SystemExit(3), "SystemExit: 3"), (OSError(), "OSError:")],
)
def test_an_error_of_the_demonstrator_is_kept_with_the_game(error, line):
    def play(session):
        repeat([SEARCH], 9)(session)
        raise error

    played = Played(play)
    assert (played.end, played.steps, played.completeness) == ("demonstrator_error", 9, "truncated")
    assert played.cause == played.attributes["error"] == line
    assert "in play" in played.attributes["traceback"]


def test_an_error_before_the_first_step_gives_a_game_of_no_steps():
    def play(session):
        raise RuntimeError("at once")

    played = Played(play)
    assert (played.end, played.steps) == ("demonstrator_error", 0)
    assert played.arrays["obs/tty_chars"].shape == (0, 24, 80)


@pytest.mark.parametrize("action", [-1, 121, 10**9])
def test_an_action_out_of_range_is_the_demonstrators_error(action):
    played = Played(repeat([SEARCH, action], 3))
    assert (played.end, played.steps) == ("demonstrator_error", 1)
    assert played.cause == f"InvalidActionError: action {action}; expected an index from 0 to 120"


@pytest.mark.parametrize("action", [1.0, "8", None, True])
def test_an_action_that_is_no_integer_is_refused(action):
    played = Played(CallableDemonstrator(lambda observation: action, "odd"))
    assert played.cause == f"InvalidActionError: action {action!r} of type {type(action).__name__}; expected an integer"


def test_going_on_after_the_end_is_refused_and_the_end_stays_what_it_was():
    def play(session):
        repeat(QUIT, 1)(session)
        with pytest.raises(GameOverError, match=r"after the game's end \(game\)"):
            session.step(SEARCH)
        raise ValueError("tidying up")

    played = Played(play)
    assert (played.end, played.steps) == ("quit", len(QUIT))
    assert played.attributes["error"] == "ValueError: tidying up"


def test_what_goes_wrong_in_recording_is_not_swallowed_by_the_demonstrator():
    def play(session):
        session._recorder.record = lambda *_: 1 / 0
        for _ in range(5):
            with suppress(ZeroDivisionError):
                session.step(SEARCH)

    with pytest.raises(ZeroDivisionError):
        Played(play)


def deeper(function, *arguments, by):
    return deeper(function, *arguments, by=by - 1) if by else function(*arguments)


@pytest.mark.parametrize("frames", [0, 1, 2, 3, 5, 8])
def test_a_demonstrator_that_recurses_too_deeply_ends_its_game_by_its_own_error(frames):
    """Wherever it meets the limit: the game is kept, and every step of it is whole."""

    def lead(session, frames):
        return lead(session, frames - 1) if frames else dive(session)

    def dive(session):
        session.step(SEARCH)
        dive(session)

    played = Played(lambda session: lead(session, frames))
    assert (played.end, played.completeness) == ("demonstrator_error", "truncated")
    assert played.cause.startswith("RecursionError: maximum recursion depth exceeded")
    # The limit counts from where the demonstrator begins, whatever has called us.
    for depth in (7, 90):
        assert deeper(Played, lambda session: lead(session, frames), by=depth).steps == played.steps > 100
    assert {len(values) for values in played.arrays.values()} == {played.steps}


def test_a_demonstrator_cannot_change_what_it_is_shown():
    def play(session):
        with pytest.raises(ValueError, match="read-only"):
            session.observation["tty_chars"][0, 0] = 1
        with pytest.raises(TypeError):
            session.observation["new"] = 1
        session.step(SEARCH)

    assert Played(play).end == "demonstrator_stopped"


def test_a_row_is_the_observation_then_the_action_then_its_reward():
    actions = [SEARCH, WEST, WEST, SEARCH, *QUIT]
    played = Played(repeat(actions, 1), observations=tuple(OBSERVATIONS))
    frames = {key: [] for key in OBSERVATIONS}
    rewards = []
    with challenge(Setup.of_seed(5, "@", fix_moon_phase=True)) as (env, observation):
        for action in actions:
            for key in OBSERVATIONS:
                frames[key].append(observation[key].copy())
            observation, reward, *_ = env.step(action)
            rewards.append(reward)
    for key in OBSERVATIONS:
        assert np.array_equal(played.arrays[f"obs/{key}"], frames[key]), key
    assert played.arrays["actions"].tolist() == actions
    assert played.arrays["rewards"].tolist() == rewards
    assert played.arrays["dones"].tolist() == [0] * (len(actions) - 1) + [1]


def test_the_labels_are_those_that_held_when_the_action_was_taken():
    def play(session):
        session.step(SEARCH)
        with session.labels.scope("look", "explore"):
            session.step(SEARCH)
            with session.labels.scope("dig"):
                session.step(SEARCH)
        session.step(SEARCH)

    played = Played(play)
    assert played.labels["strategy"] == ["init", "explore", "explore", "recover"]
    assert played.labels["substrategy"] == ["none", "look", "dig", "none"]
    assert played.arrays["hihack_strategy"].tolist() == [-1] * 4


def test_a_callable_reports_by_its_attribute_and_is_unlabelled_without():
    class Policy:
        strategy = None

        def __call__(self, observation):
            self.strategy = "rest" if observation["blstats"][20] > 3 else None
            return SEARCH

    played = Played(CallableDemonstrator(Policy(), "policy"), max_steps=20)
    assert set(played.labels["strategy"]) == {"rest", "unlabelled"}


def test_seeds_of_other_roles_are_skipped_cheaply():
    def play(session):
        raise AssertionError("not to be played")

    options = DemonstrationOptions(clock=Clock("seed"), roles=Roles(["val"]))
    assert play_game(options, Scripted(play), 4, provenance()) == SkippedSeed(4, "Kni")


def test_the_same_seed_gives_the_same_game():
    one, other = (Played(repeat([WEST, SEARCH], 300)) for _ in range(2))
    assert one.frames_sha256 == other.frames_sha256
    assert one.keys_sha256 == other.keys_sha256
    assert Played(repeat([WEST, SEARCH], 300), seed=6).frames_sha256 != one.frames_sha256


def test_progression_is_the_best_of_depth_and_experience():
    pytest.importorskip("nethackers")
    assert progression([(1, 1, 0, 1)], ascended=False) == 0
    assert progression([(1, 1, 0, 1), (4, 8, 2, 3)], ascended=False) == pytest.approx(0.0745, abs=1e-4)
    assert progression([(10, 1, 0, 10)], ascended=False) == pytest.approx(0.1256, abs=1e-4)
    assert progression([(50, 30, 7, 1)], ascended=True) == 1


def test_after_a_bot_has_played_we_are_where_we_were():
    before = Path.cwd()
    played = Played(make_demonstrator(str(BOTS / "wanderer")), max_steps=50)
    assert {"wander", "rest", "explore"} <= set(played.labels["strategy"])
    assert Path.cwd() == before
