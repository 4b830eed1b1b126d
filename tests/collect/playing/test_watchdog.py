"""Demonstrators that stop acting: loops without an action, some of which survive whatever is raised in them."""

import subprocess
import sys
import time
import traceback

import pytest
from nle import nethack

from strathack.collect.playing.environment import Setup, challenge
from strathack.collect.playing.game import let_play
from strathack.collect.playing.recorder import GameRecorder
from strathack.collect.playing.session import Session
from strathack.collect.playing.tracker import LabelTracker
from strathack.collect.playing.watchdog import StuckError, Watchdog

SEARCH = nethack.ACTIONS.index(nethack.Command.SEARCH)


class Looping:
    """Plays some steps, then loops; says afterwards where it was interrupted."""

    def __init__(self, steps, patient=False):
        self.steps, self.patient, self.survived = steps, patient, 0

    def play(self, session):
        for _ in range(self.steps):
            session.step(SEARCH)
        while True:
            try:
                self.loop()
            except SystemExit:
                raise
            except BaseException:  # noqa: BLE001  (as bots do)
                self.survived += 1

    def loop(self):
        while True:
            sum(range(100))


@pytest.fixture
def new_session():
    with challenge(Setup.of_seed(5, "@", fix_moon_phase=True)) as (env, observation):
        recorder = GameRecorder(observation, ())
        yield lambda **limits: Session(env, observation, 5, recorder, LabelTracker(), **limits)


def test_a_demonstrator_that_loops_is_ended_and_its_game_is_kept(new_session):
    session, looping = new_session(), Looping(7)
    error = let_play(looping, session, stuck_seconds=0.5)
    assert isinstance(error, StuckError)
    assert str(error) == "no action for 0.5 seconds, after 7 steps"
    assert (session.end, session.failure, session.steps, looping.survived) == (None, None, 7, 0)


def test_a_time_limit_ends_a_game_between_steps_too(new_session):
    session = new_session(deadline=time.monotonic() + 0.3)
    error = let_play(Looping(3), session, stuck_seconds=2.0)
    assert isinstance(error, StuckError)
    assert session.end == "time_limit"
    assert session.steps == 3


def test_one_who_acts_is_left_alone_and_nothing_comes_in_later(new_session):
    class Slow:
        def play(self, session):
            for _ in range(12):
                time.sleep(0.1)
                session.step(SEARCH)

    session = new_session()
    assert let_play(Slow(), session, stuck_seconds=0.5) is None
    assert session.steps == 12
    with Watchdog(session, 0.2) as watchdog:
        deadline = time.monotonic() + 0.19
        while time.monotonic() < deadline:
            pass
    for _ in range(50):
        time.sleep(0.01)
    assert watchdog.error is None


def test_a_step_that_is_interrupted_fails_the_game_instead_of_ending_the_process(new_session):
    class Step:
        def play(self, session):
            session._env = self
            session.step(SEARCH)

        def step(self, action):
            while True:
                sum(range(100))

    with pytest.raises(RuntimeError, match="a step took so long that it was interrupted"):
        let_play(Step(), new_session(), stuck_seconds=0.3)


def test_where_it_looped_is_told(new_session):
    error = let_play(Looping(1), new_session(), stuck_seconds=0.3)
    assert "self.loop()" in "".join(traceback.format_exception(error))


def test_a_game_may_be_played_under_a_tracer():
    """As debuggers, coverage and profilers do; on CPython 3.11 the thread hung when the game had ended."""
    code = (
        "import sys\n"
        "from types import SimpleNamespace\n"
        "from strathack.collect.playing.watchdog import Watchdog\n"
        "sys.settrace(lambda *_: None)\n"
        "for _ in range(3):\n"
        "    with Watchdog(SimpleNamespace(steps=0, is_late=lambda: False)):\n"
        "        pass\n"
        "print(sum(range(10**5)))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.stdout.strip() == str(sum(range(10**5))), ended.stderr
