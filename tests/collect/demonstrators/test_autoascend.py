"""The wrapping of AutoAscend's strategies, on a stand-in that has its way of running them."""

import ast
import contextlib
import importlib
import warnings
from types import SimpleNamespace

import pytest
from nle import nethack

from strathack.dataset.labels import STRATEGIES, names_by_code

pytest.importorskip("nethackers")
autoascend = importlib.import_module("strathack.collect.demonstrators.autoascend")
package = importlib.import_module("strathack.collect.demonstrators.package")


@pytest.fixture
def bot():
    """AutoAscend's own Strategy and announcements, without its agent."""
    package.load_bot()
    strategy = importlib.import_module("autoascend.strategy").Strategy
    debug_log = importlib.import_module("autoascend.utils").debug_log
    return SimpleNamespace(Strategy=strategy, debug_log=debug_log)


class Stage:
    """Notes the labels at every step of a scripted play."""

    def __init__(self):
        self.labels = autoascend.AutoAscend().make_labels()
        self.env = autoascend._Environment(SimpleNamespace(labels=self.labels))
        self.agent = self  # AutoAscend's announcing decorator looks for agent.env
        self.steps = []

    def step(self):
        strategy = names_by_code(self.labels.strategy_codes)[self.labels.strategy]
        routine = names_by_code(self.labels.substrategy_codes)[self.labels.substrategy]
        self.steps.append((strategy, routine, STRATEGIES[self.labels.published]))

    def trace(self, method, make):
        of_method = next(m for m in autoascend.STRATEGY_METHODS if m.method == method)
        return autoascend._traced(make, of_method, self.labels)


def test_labels_of_a_fight_that_preempts_the_exploration(bot):
    stage = Stage()

    class Player(Stage):
        def __init__(self):
            self.agent, self.env = stage, stage.env

        @bot.debug_log("fight2")
        @bot.Strategy.wrap
        def fight2(self, monsters):
            if not monsters:
                yield False
            yield True
            with stage.env.debug_log("0.1melee|0.5move"):  # a generated list of actions, no name
                stage.step()

        @bot.Strategy.wrap
        def current_strategy(self):
            yield True
            with stage.env.debug_log("inventory.check_items"):
                stage.step()
            with stage.env.debug_log("going to level Gnomish Mines:4"):
                stage.step()

    player = Player()
    fight = stage.trace("fight2", player.fight2)
    explore = stage.trace("current_strategy", player.current_strategy)
    stage.step()
    assert fight(monsters=False).check_condition() is False  # the published rule says fight from here on
    stage.step()
    explore().run()
    fight(monsters=True).run()
    stage.step()
    assert stage.steps == [
        ("init", "none", "init"),
        ("init", "none", "fight"),
        ("explore", "inventory.check_items", "explore"),
        ("explore", "going to level", "explore"),
        ("fight", "fight2", "fight"),
        ("recover", "none", "fight"),
    ]


@pytest.mark.parametrize(
    "method", [m for m in autoascend.STRATEGY_METHODS if m.published != "tested"], ids=lambda m: m.strategy
)
def test_the_published_label_changes_when_the_rule_says(bot, method):
    stage = Stage()
    passes = [False, True]

    def body():
        stage.step()
        yield passes.pop(0)
        stage.step()

    strategy = stage.trace(method.method, lambda: bot.Strategy(body))()
    assert strategy.run(return_condition=True) is False
    assert STRATEGIES[stage.labels.published] == "init"
    generator = strategy.strategy()
    next(generator)
    assert (STRATEGIES[stage.labels.published] == method.strategy) == (method.published == "passed")
    with contextlib.suppress(StopIteration):
        next(generator)
    assert STRATEGIES[stage.labels.published] == method.strategy


def test_a_strategy_still_returns_its_value_and_passes_its_error_on(bot):
    stage = Stage()

    def body(fails):
        yield True
        if fails:
            raise LookupError("panic")
        return 42

    make = stage.trace("current_strategy", lambda fails: bot.Strategy(lambda: body(fails)))
    assert make(False).run() == 42
    with pytest.raises(LookupError, match="panic"):
        make(True).run()
    stage.step()
    assert stage.steps[-1][0] == "recover"


def test_every_method_that_is_wrapped_is_there_and_every_announcement_is_known():
    """Holds our tables to the installed package."""
    module = package.load_bot()
    logic = importlib.import_module("autoascend.global_logic").GlobalLogic
    methods = autoascend.STRATEGY_METHODS
    for method in methods:
        assert hasattr(logic if method.owner else module.Agent, method.method), method
    assert {method.strategy for method in methods} == set(STRATEGIES) - {"init", "recover"}
    announced = set()
    for path in package.find_bot().rglob("*.py"):
        with warnings.catch_warnings(action="ignore"):  # of the bot's regular expressions
            tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "debug_log":
                announced |= {arg.value for arg in node.args if isinstance(arg, ast.Constant)}
    unannounced = {"current_strategy", "wait_out_unexpected_state_strategy", autoascend.TRAVEL}
    assert announced == set(autoascend.ROUTINES) - unannounced


def test_actions_are_the_simulators():
    for action in nethack.ACTIONS:
        index = autoascend.ACTION_INDEX[int(action)]
        assert nethack.ACTIONS[index] == action
        assert nethack.ACTIONS.index(action) == index  # the first, where a key stands there twice


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(package.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'needs the package nethackers.*pip install "nethackers\[autoascend\]"'):
        autoascend.AutoAscend()
