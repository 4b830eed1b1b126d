"""Strategies as the package makes and combines them, and as the fast bot does: the same calls in the same order."""

import importlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("nethackers")
strategies = importlib.import_module("strathack.collect.demonstrators.fast.strategies")
stepping = importlib.import_module("strathack.collect.demonstrators.fast.stepping")
replacing = importlib.import_module("strathack.collect.demonstrators.fast.replacing")
agents = importlib.import_module("autoascend.agent")
Strategy = importlib.import_module("autoascend.strategy").Strategy
REPLACEMENTS = [*stepping.REPLACEMENTS, *strategies.REPLACEMENTS]


class Player:
    """The part of an agent that strategies need; takes scripted conditions, and notes what is called."""

    def __init__(self, answers):
        self.answers, self.noted = list(answers), []
        self.on_update, self.step_count, self._no_step_calls = [], 0, False

    for name in ("add_on_update", "call_update_functions", "disallow_step_calling", "preempt"):
        exec(f"def {name}(self, *args, **kwargs): return agents.Agent.{name}(self, *args, **kwargs)")

    def ask(self, name):
        self.noted.append(f"{name}?")
        if not self.answers:
            raise LookupError("the script is over")
        return self.answers.pop(0)

    def step(self, name):
        assert not self._no_step_calls
        self.noted.append(f"{name}!")
        self.step_count += 1
        if self.step_count % 2:
            self.call_update_functions()

    def strategy(self, name):
        def run():
            yield self.ask(name)
            self.step(name)
            self.step(name)
            return name

        return Strategy(run)


plans = st.recursive(
    st.sampled_from("abcd"),
    lambda inner: st.one_of(
        st.tuples(st.just("condition"), inner),
        st.tuples(st.just("until"), inner),
        st.tuples(st.just("repeat"), inner),
        st.tuples(st.just("every"), inner),
        st.tuples(st.just("before"), inner, inner),
        st.tuples(st.just("preempt"), inner, st.lists(inner, min_size=1, max_size=2), st.booleans()),
    ),
    max_leaves=6,
)


def built(player, plan):
    if isinstance(plan, str):
        return player.strategy(plan)
    kind, first, *rest = plan
    strategy = built(player, first)
    if kind == "condition":
        return strategy.condition(lambda: player.ask("if"))
    if kind == "until":
        return strategy.until(player, lambda: player.ask("until"))
    if kind == "repeat":
        return strategy.repeat()
    if kind == "every":
        return strategy.every(2)
    if kind == "before":
        return strategy.before(built(player, rest[0]))
    return strategy.preempt(player, [built(player, one) for one in rest[0]], continue_after_preemption=rest[1])


def played(plan, answers):
    player = Player(answers)
    try:
        strategy = built(player, plan)
        results = [strategy.run(return_condition=True) for _ in range(3)]
    except (LookupError, AssertionError, RuntimeError) as error:
        results = type(error).__name__
    return player.noted, results, player.on_update, player._no_step_calls


@given(plans, st.lists(st.booleans(), max_size=40))
def test_combined_strategies_run_as_the_packages_do(plan, answers):
    expected = played(plan, answers)
    with replacing.replaced(REPLACEMENTS):
        assert played(plan, answers) == expected


def test_an_announced_strategy_announces_its_body_only(bot_env):
    def body(owner, question):
        bot_env.noted.append(question)
        yield question == "yes"
        bot_env.noted.append("acts")
        return 7

    method = strategies.announced("fight2", body, lambda owner: owner.hopeless)
    owner = bot_env
    assert method(owner, "yes").run() == 7
    assert method(owner, "no").run(return_condition=True) is False
    owner.hopeless = True
    assert method(owner, "yes").run(return_condition=True) is False
    assert bot_env.noted == ["yes", "fight2 begins", "acts", "fight2 ends", "no"]


@pytest.fixture
def bot_env():
    class Env:
        hopeless = False

        def __init__(self):
            self.noted = []
            self.env = self

        def debug_log(self, txt):
            return Scope(self, txt)

    class Scope:
        def __init__(self, env, txt):
            self.env, self.txt = env, txt

        def __enter__(self):
            self.env.noted.append(f"{self.txt} begins")

        def __exit__(self, *_):
            self.env.noted.append(f"{self.txt} ends")

    return Env()


def test_every_strategy_that_the_package_announces_is_made_anew():
    made = {str(replacement) for replacement in strategies.REPLACEMENTS}
    for method in (
        "agent.Agent.fight2",
        "item.inventory.Inventory.arrange_items",
        "global_logic.GlobalLogic.follow_guard",
    ):
        assert f"autoascend.{method}" in made
