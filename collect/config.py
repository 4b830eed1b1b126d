"""What to collect and how: options that check themselves."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from strathack.collect.playing.characters import check_character, parse_roles
from strathack.collect.playing.clock import DEFAULT_CLOCK, Clock
from strathack.collect.running.pools import Placement
from strathack.dataset.errors import InputError
from strathack.dataset.schema import DEFAULT_OBSERVATIONS, parse_observations

MAX_SEED = 2**63 - 1


def parse_seeds(text: str) -> tuple[int, ...]:
    """Reads seeds: numbers and half-open ranges, ``2,4,10:20``; doubles count once, the order is ascending.

    Raises:
        InputError: If a part is neither, or a range is empty.
    """
    seeds: set[int] = set()
    for part in text.split(","):
        part = part.strip()
        match = re.fullmatch(r"(\d+)(?::(\d+))?", part, flags=re.ASCII)
        if match is None:
            raise InputError(f"seeds: {part!r} in {text!r} is neither a number nor a range like 10:20")
        first, last = int(match[1]), int(match[2] or int(match[1]) + 1)
        if last <= first:
            raise InputError(f"seeds: the range {part!r} is empty; the first seed comes first, the end is left out")
        if last - 1 > MAX_SEED:
            raise InputError(f"seeds: {last - 1} is over NLE's largest seed, {MAX_SEED}")
        if last - first > 10_000_000:
            raise InputError(f"seeds: the range {part!r} has {last - first:,} seeds; expected at most 10,000,000")
        seeds.update(range(first, last))
    return tuple(sorted(seeds))


def format_seeds(seeds: Iterable[int]) -> str:
    """The inverse of :func:`parse_seeds`, as short as it gets: ``2,4,10:20``."""
    runs: list[list[int]] = []
    for seed in sorted(set(seeds)):
        if runs and runs[-1][1] == seed:
            runs[-1][1] = seed + 1
        else:
            runs.append([seed, seed + 1])
    return ",".join(str(a) if b == a + 1 else f"{a}:{b}" for a, b in runs)


@dataclass(frozen=True)
class GameOptions:
    """What decides a game, given its seed; the same for every game of a dataset.

    Attributes:
        demonstrator: ``autoascend``, a bot's folder, or ``package.module:callable``.
        clock: The games' wall clock.
        character: NLE's character string.
        roles: Roles to play; seeds of others are skipped. Empty for all.
        max_steps: Steps after which a game is cut, None for none.
        max_seconds: Seconds after which a game is cut, None for none.
        observations: Observation keys to keep; empty for the keys pressed alone.
    """

    demonstrator: str = "autoascend"
    clock: Clock = Clock.parse(DEFAULT_CLOCK)  # noqa: RUF009  (frozen)
    character: str = "@"
    roles: tuple[str, ...] = ()
    max_steps: int | None = None
    max_seconds: float | None = None
    observations: tuple[str, ...] = DEFAULT_OBSERVATIONS

    def __post_init__(self) -> None:
        """Checks every option.

        Raises:
            InputError: By name of the option.
        """
        check_character(self.character)
        parse_roles(self.roles)
        if self.observations:
            parse_observations(self.observations)
        for name in ("max_steps", "max_seconds"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"{name}: {value} is not above 0")

    def settings(self) -> dict[str, Any]:
        """The options as plain values, as kept with a dataset."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {
            **values,
            "clock": str(self.clock),
            "roles": list(self.roles),
            "observations": list(self.observations),
        }


@dataclass(frozen=True)
class CollectConfig:
    """Collects games into a dataset folder.

    Attributes:
        out: The dataset folder; it is made where it does not exist.
        seeds: Seeds to play, numbers and half-open ranges: 2,4,10:20.
        workers: Processes that play, by Ray; by default one a core. 0 plays in this process.
        address: Address of a running Ray cluster (auto, or host:port); by default one is started for this run.
        demonstrator: autoascend, the folder of a bot (bot.py with make_agent), or package.module:callable.
        clock: The games' wall clock: an instant in UTC, held by libfaketime; seed (moon and night from the
            seed); or system.
        character: Who is played, as NLE writes it: @ (drawn from the seed) or role-race-alignment-gender.
        roles: Roles to play, by three letters: val,sam. Seeds that draw another are skipped.
        max_steps: Steps after which a game is cut; by default none.
        max_seconds: Seconds after which a game is cut, and a hung worker replaced; by default none.
        observations: Observation keys to keep; all; or none, for the keys pressed alone, from which games are replayed.
        games_per_shard: Games in a shard after the final merge.
        retries: How often a seed is tried again whose worker died.
        extend: Add seeds to a dataset that was collected without them.
        quiet: Plain lines instead of a live display.
    """

    out: Path
    seeds: str = "0:8"
    workers: int | None = None
    address: str | None = None
    demonstrator: str = "autoascend"
    clock: str = DEFAULT_CLOCK
    character: str = "@"
    roles: str = ""
    max_steps: int | None = None
    max_seconds: float | None = None
    observations: str = ",".join(DEFAULT_OBSERVATIONS)
    games_per_shard: int = 64
    retries: int = 2
    extend: bool = False
    quiet: bool = False

    def __post_init__(self) -> None:
        """Checks every option.

        Raises:
            InputError: By name of the option.
        """
        parse_seeds(self.seeds)
        if self.games_per_shard < 1:
            raise InputError(f"games_per_shard: {self.games_per_shard} is below 1")
        if self.retries < 0:
            raise InputError(f"retries: {self.retries} is below 0")
        _ = self.game, self.placement

    @property
    def placement(self) -> Placement:
        """Where games are played."""
        return Placement(self.workers, self.address)

    @property
    def game(self) -> GameOptions:
        """What decides a game."""
        return GameOptions(
            demonstrator=self.demonstrator,
            clock=Clock.parse(self.clock),
            character=check_character(self.character),
            roles=parse_roles(split_list(self.roles)),
            max_steps=self.max_steps,
            max_seconds=self.max_seconds,
            observations=() if self.observations == "none" else parse_observations(split_list(self.observations)),
        )


def split_list(text: str) -> list[str]:
    """Parts between commas, without spaces around them."""
    return [part.strip() for part in text.split(",")] if text.strip() else []
