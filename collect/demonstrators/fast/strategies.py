"""The bot's strategies: made and combined with as little work as can be.

A strategy is a generator that yields once, whether its condition holds, and then runs its body. Most strategies are
made, tested once and thrown away, so that what the package does for its own developers (names by ``functools.wraps``,
descriptions of what was combined) costs more than the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from functools import partial
from types import FunctionType
from typing import Any

import autoascend.strategy
from autoascend.agent import Agent
from autoascend.exceptions import AgentChangeStrategy
from autoascend.exploration_logic import ExplorationLogic
from autoascend.global_logic import GlobalLogic
from autoascend.item.inventory import Inventory
from autoascend.strategy import Strategy

from strathack.collect.demonstrators.fast.replacing import Replacement

Run = Generator[Any, None, Any]
Hopeless = Callable[[Any], bool]

_MOST_PREEMPTIONS = 5
"""After so many preemptions in a row without a step, the bot panics."""


def make(run: Callable[[], Run]) -> Any:
    """Returns a strategy."""
    strategy = object.__new__(Strategy)
    strategy.strategy = run
    strategy.config = run
    return strategy


def finish(run: Run) -> Any:
    """Runs the body of a strategy whose condition held; returns its result."""
    try:
        next(run)
    except StopIteration as end:
        return end.value
    raise AssertionError(run)


def _init(strategy: Any, run: Callable[[], Run], config: Any = None) -> None:
    strategy.strategy = run
    strategy.config = run if config is None else config


def _plain(function: Any) -> Callable[[Callable[[], Run]], Callable[[], Run]]:
    """Stands for ``functools.wraps``: gives a function no other's name."""
    return _unchanged


def _unchanged(function: Callable[[], Run]) -> Callable[[], Run]:
    return function


def _condition(strategy: Any, condition: Callable[[], Any]) -> Any:
    return make(partial(_run_if, strategy, condition))


def _run_if(strategy: Any, condition: Callable[[], Any]) -> Run:
    if not condition():
        yield False
        raise AssertionError
    run = strategy.strategy()
    yield next(run)
    return finish(run)


def _until(strategy: Any, agent: Any, condition: Callable[[], Any]) -> Any:
    return strategy.condition(lambda: not condition()).preempt(
        agent, [make(partial(_run_nothing_if, condition))], continue_after_preemption=False
    )


def _run_nothing_if(condition: Callable[[], Any]) -> Run:
    if not condition():
        yield False
        raise AssertionError
    yield True


def _before(strategy: Any, then: Any) -> Any:
    return make(partial(_run_both, strategy, then))


def _run_both(first: Any, second: Any) -> Run:
    yielded = False
    results = []
    for strategy in (first, second):
        run, result = strategy.strategy(), None
        if next(run):
            if not yielded:
                yielded = True
                yield True
            result = finish(run)
        results.append(result)
    if not yielded:
        yield False
    return tuple(results)


def _preempt(strategy: Any, agent: Any, strategies: Sequence[Any], continue_after_preemption: bool = True) -> Any:
    return make(partial(_run_preempted, strategy, agent, lambda: strategies, continue_after_preemption))


def preempted(strategy: Any, agent: Any, strategies: Callable[[], Sequence[Any]]) -> Any:
    """Returns a strategy that others may preempt, which are made when it is entered."""
    return make(partial(_run_preempted, strategy, agent, strategies, True))


def _run_preempted(
    strategy: Any, agent: Any, strategies: Callable[[], Sequence[Any]], continue_after_preemption: bool
) -> Run:
    run = strategy.strategy()
    if agent._no_step_calls:
        passed = next(run)
    else:
        with agent.disallow_step_calling():
            passed = next(run)
    if not passed:
        yield False
    yield True
    assert not agent._no_step_calls
    return agent.preempt(
        strategies(),
        strategy,
        first_func=partial(finish, run),
        continue_after_preemption=continue_after_preemption,
    )


def _repeat(strategy: Any) -> Any:
    return make(partial(_run_repeatedly, strategy))


def _run_repeatedly(strategy: Any) -> Run:
    yielded = False
    while True:
        run = strategy.strategy()
        if not next(run):
            if not yielded:
                yield False
            return None
        if not yielded:
            yielded = True
            yield True
        finish(run)


def _every(strategy: Any, num_of_iterations: int) -> Any:
    return make(_Every(strategy, num_of_iterations))


class _Every:
    """Tests a strategy at every n-th test only, and again right after its body has run."""

    __slots__ = ("_number", "_strategy", "_tests")

    def __init__(self, strategy: Any, number: int) -> None:
        self._strategy, self._number, self._tests = strategy, number, -1

    def __call__(self) -> Run:
        self._tests += 1
        if self._tests % self._number:
            yield False
            raise AssertionError
        run = self._strategy.strategy()
        yield next(run)
        self._tests = -1
        return finish(run)


def preempt(
    agent: Any,
    strategies: Iterable[Any],
    func: Any,
    first_func: Callable[[], Any] | None = None,
    continue_after_preemption: bool = True,
) -> Any:
    """Runs a strategy or function; others are tested at every update and preempt it where their condition holds."""
    tests = [_Test(strategy) for strategy in strategies]
    run = first_func or func
    tested = False
    last_step, inactivity = agent.step_count, 0
    while True:
        inactivity += 1
        if agent.step_count != last_step:
            last_step, inactivity = agent.step_count, 0
        assert inactivity < _MOST_PREEMPTIONS, "cyclic preempt"
        try:
            with agent.add_on_update(tests):
                if not tested:
                    tested = True
                    agent.call_update_functions(tests)
                return run.run() if isinstance(run, Strategy) else run()
        except AgentChangeStrategy as change:
            test, entered = change.args
            if test not in tests:
                raise
        finish(entered)
        if not continue_after_preemption:
            return None
        run = func


class _Test:
    """Tests whether a strategy preempts what runs."""

    __slots__ = ("_strategy",)

    def __init__(self, strategy: Any) -> None:
        self._strategy = strategy

    def __call__(self) -> None:
        run = self._strategy.strategy()
        if next(run):
            raise AgentChangeStrategy(self, run)


def announced(name: str, body: Callable[..., Run], hopeless: Hopeless | None = None) -> Callable[..., Any]:
    """Returns a method that makes a strategy, which announces its name while its body runs.

    Args:
        name: What is announced.
        body: The strategy's generator function; its first argument is the method's object.
        hopeless: A cheap test, of the method's object, that is true only where the condition does not hold and testing
            it would change nothing.
    """

    def method(owner: Any, *args: Any, **kwargs: Any) -> Any:
        return make(partial(_run_announced, name, body, hopeless, owner, args, kwargs))

    return method


def _run_announced(
    name: str,
    body: Callable[..., Run],
    hopeless: Hopeless | None,
    owner: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Run:
    if hopeless is not None and hopeless(owner):
        yield False
        raise AssertionError
    run = body(owner, *args, **kwargs)
    yield next(run)
    agent = getattr(owner, "agent", owner)
    with agent.env.debug_log(txt=name):
        return finish(run)


def generator_function(method: Any) -> Callable[..., Run]:
    """Returns the generator function of a method that the package has wrapped as a strategy."""
    return _closure(_closure(method).get("fun", method))["func"]


def _closure(function: Any) -> dict[str, Any]:
    """Returns the variables that a function keeps from where it was made, by name."""
    if not isinstance(function, FunctionType) or function.__closure__ is None:
        return {}
    cells = zip(function.__code__.co_freevars, function.__closure__, strict=True)
    return {name: cell.cell_contents for name, cell in cells}


def announced_anew(owner: type, name: str, hopeless: Hopeless | None = None) -> Replacement:
    """Replaces an announced strategy of the bot: its own code runs, without the package's decorators around it."""
    method = vars(owner)[name]
    new = announced(_closure(method)["txt"], generator_function(method), hopeless)
    return Replacement(owner, name, new, "strategy" if hopeless else "none")


def _announced_strategies() -> Iterable[tuple[type, str]]:
    for owner in (Agent, Inventory, ExplorationLogic, GlobalLogic):
        for name, method in vars(owner).items():
            if "txt" in _closure(method) and "func" in _closure(_closure(method)["fun"]):
                yield owner, name


REPLACEMENTS = (
    Replacement(autoascend.strategy, "wraps", _plain, "none"),
    Replacement(Strategy, "__init__", _init, "none"),
    Replacement(Strategy, "condition", _condition, "none"),
    Replacement(Strategy, "until", _until, "none"),
    Replacement(Strategy, "before", _before, "none"),
    Replacement(Strategy, "preempt", _preempt, "none"),
    Replacement(Strategy, "repeat", _repeat, "none"),
    Replacement(Strategy, "every", _every, "none"),
    Replacement(Agent, "preempt", preempt, "none"),
    *(announced_anew(owner, name) for owner, name in _announced_strategies()),
)
