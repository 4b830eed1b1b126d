"""Scoping, proved with a scripted demonstrator that runs strategies as generators do, and by hand."""

import pytest

from strathack.collect.playing.tracker import LabelTracker
from strathack.dataset.labels import STRATEGIES, UNLABELLED, names_by_code


class Recorded:
    """A tracker with a step that notes the labels it would be recorded with."""

    def __init__(self, **options):
        options = {"before": "init", "outside": "recover", **options}
        self.tracker = LabelTracker(STRATEGIES, ("look", "loot"), **options)
        self.steps = []

    def step(self):
        strategies = names_by_code(self.tracker.strategy_codes)
        routines = names_by_code(self.tracker.substrategy_codes)
        self.steps.append((strategies[self.tracker.strategy], routines[self.tracker.substrategy]))

    def strategy(self, name):
        return self.tracker.scope(name, name)


@pytest.fixture
def recorded():
    return Recorded()


def test_steps_before_any_strategy_are_init_and_after_them_recover(recorded):
    recorded.step()
    with recorded.strategy("explore"):
        recorded.step()
    recorded.step()
    assert recorded.steps == [("init", "none"), ("explore", "explore"), ("recover", "none")]


def test_a_routine_outside_every_strategy_does_not_end_the_opening(recorded):
    with recorded.tracker.scope("look"):
        recorded.step()
    recorded.step()
    assert recorded.steps == [("init", "look"), ("init", "none")]


def test_a_nested_strategy_is_what_runs_and_the_outer_one_is_restored(recorded):
    with recorded.strategy("explore"):
        with recorded.tracker.scope("loot"):
            recorded.step()
            with recorded.strategy("fight"):
                recorded.step()
                with recorded.tracker.scope("look"):
                    recorded.step()
            recorded.step()
        recorded.step()
    assert recorded.steps == [
        ("explore", "loot"), ("fight", "fight"), ("fight", "look"), ("explore", "loot"), ("explore", "explore"),
    ]  # fmt: skip


class Preempted(Exception):  # noqa: N818
    pass


def test_a_preemption_leaves_every_scope_it_unwinds(recorded):
    def explore():
        with recorded.strategy("explore"), recorded.tracker.scope("loot"):
            recorded.step()
            raise Preempted

    for _ in range(2):
        try:
            explore()
        except Preempted:
            with recorded.strategy("emergency"):
                recorded.step()
        recorded.step()
    assert recorded.steps == [("explore", "loot"), ("emergency", "emergency"), ("recover", "none")] * 2


def test_an_exception_through_all_of_them_leaves_nothing_behind(recorded):
    with (
        pytest.raises(ZeroDivisionError),
        recorded.strategy("explore"),
        recorded.strategy("fight"),
        recorded.tracker.scope("look"),
    ):
        recorded.steps.append(1 / 0)
    recorded.step()
    assert recorded.steps == [("recover", "none")]


def test_a_generator_that_is_dropped_half_way_takes_only_its_own_scope(recorded):
    def body(name):
        with recorded.strategy(name):
            yield

    dropped = body("ground_eat")
    next(dropped)
    with recorded.strategy("fight"):
        with recorded.tracker.scope("look"):
            recorded.step()
            dropped.close()
            recorded.step()
        recorded.step()
    recorded.step()
    assert recorded.steps == [("fight", "look"), ("fight", "look"), ("fight", "fight"), ("recover", "none")]


def test_a_routine_over_a_dropped_strategy_goes_back_to_what_is_under_it(recorded):
    explore, fight = recorded.strategy("explore"), recorded.strategy("fight")
    explore.__enter__()
    fight.__enter__()
    with recorded.tracker.scope("look"):
        recorded.step()
        fight.__exit__(None, None, None)
        recorded.step()
    assert recorded.steps == [("fight", "look"), ("explore", "look")]


def test_reports_label_until_the_next_report():
    recorded = Recorded(before=None, outside=None)
    for name in (None, "dig", "fight", None):
        recorded.tracker.report(name)
        recorded.step()
    assert [strategy for strategy, _ in recorded.steps] == ["unlabelled", "dig", "fight", "unlabelled"]
    assert recorded.tracker.strategy_codes["dig"] == 13
    assert recorded.tracker.strategy == UNLABELLED


def test_a_strategy_that_is_no_name_is_refused():
    with pytest.raises(TypeError, match="its strategy is 7 of type int; expected a name, or None"):
        LabelTracker().report(7)
