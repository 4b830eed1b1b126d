"""Tracks which strategy runs at each step, by a stack of running scopes, and holds the published label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType

from strathack.dataset.labels import NO_PUBLISHED_LABEL, STRATEGIES, UNLABELLED, Vocabulary

NO_ROUTINE = "none"
"""The substrategy of a step at which no routine is announced."""


class _Scope:
    """One running routine; a context manager that may be left in any order and by any exception."""

    __slots__ = ("_tracker", "effective", "strategy", "substrategy")

    def __init__(self, tracker: LabelTracker, strategy: int, substrategy: int) -> None:
        self._tracker = tracker
        self.strategy = strategy
        self.effective = strategy
        """The strategy of steps in this scope: its own, or the one inherited from the enclosing scope."""
        self.substrategy = substrategy

    def __enter__(self) -> None:
        self._tracker._enter(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tracker._leave(self)


class LabelTracker:
    """Tracks the three labels of the next step.

    Scopes nest: a scope may be opened inside another one, and when it ends, in whatever way, the labels are again
    those of the enclosing scope. A routine that is not a strategy inherits the strategy of the enclosing scope.

    Args:
        strategies: Strategy names known from the start; others get codes as they appear.
        routines: Routine names known from the start; others get codes as they appear.
        before: The strategy of steps before any strategy has been entered, None for unlabelled.
        outside: The strategy of later steps outside every strategy, None for unlabelled.

    Attributes:
        strategy: Code of the running strategy.
        substrategy: Code of the innermost announced routine.
        published: The ordinal of the published label, −1 for none. The demonstrator sets it, by the published rule.
    """

    def __init__(
        self,
        strategies: Sequence[str] = STRATEGIES,
        routines: Sequence[str] = (),
        *,
        before: str | None = None,
        outside: str | None = None,
    ) -> None:
        self._strategies = Vocabulary(strategies)
        self._routines = Vocabulary(routines, nothing=NO_ROUTINE)
        self._outside = self._strategy_code(outside)
        self._stack: list[_Scope] = []
        self.strategy = self._strategy_code(before)
        self.substrategy = UNLABELLED
        self.published = NO_PUBLISHED_LABEL
        self._ground = self.strategy
        """The strategy of steps outside every scope."""

    @property
    def strategy_codes(self) -> Mapping[str, int]:
        """Strategy name → code."""
        return self._strategies.codes

    @property
    def substrategy_codes(self) -> Mapping[str, int]:
        """Routine name → code."""
        return self._routines.codes

    def scope(self, routine: str, strategy: str | None = None) -> _Scope:
        """Returns a context in which ``routine`` runs.

        Args:
            routine: The substrategy of steps in it.
            strategy: The strategy of steps in it, or None to inherit it from the enclosing scope.
        """
        code = self._strategies.code(strategy) if strategy is not None else UNLABELLED
        return _Scope(self, code, self._routines.code(routine))

    def report(self, strategy: str | None) -> None:
        """Sets the strategy of the steps to come, for a demonstrator that reports it without scopes.

        Raises:
            TypeError: If the strategy is neither a name nor None.
        """
        if strategy is not None and not isinstance(strategy, str):
            raise TypeError(f"its strategy is {strategy!r} of type {type(strategy).__name__}; expected a name, or None")
        self._ground = self._strategy_code(strategy)
        self._inherit_anew()
        self._refresh()

    def _strategy_code(self, name: str | None) -> int:
        return UNLABELLED if name is None else self._strategies.code(name)

    def _enter(self, scope: _Scope) -> None:
        if scope.strategy != UNLABELLED:
            self._ground = self._outside
            scope.effective = scope.strategy
        else:
            scope.effective = self._stack[-1].effective if self._stack else self._ground
        self._stack.append(scope)
        self._refresh()

    def _leave(self, scope: _Scope) -> None:
        stack = self._stack
        if stack[-1] is scope:
            stack.pop()
        else:
            # A generator dropped half-way closes its scope late, after others have been opened above it.
            stack.remove(scope)
            self._inherit_anew()
        self._refresh()

    def _inherit_anew(self) -> None:
        effective = self._ground
        for scope in self._stack:
            effective = scope.effective = scope.strategy if scope.strategy != UNLABELLED else effective

    def _refresh(self) -> None:
        if self._stack:
            top = self._stack[-1]
            self.strategy, self.substrategy = top.effective, top.substrategy
        else:
            self.strategy, self.substrategy = self._ground, UNLABELLED
