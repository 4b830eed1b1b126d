"""``strathack collect``: many games into a dataset folder."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType

from strathack.collect.clock import real_time, restart_under
from strathack.collect.config import CollectConfig, GameOptions, differing_settings, format_seeds, parse_seeds
from strathack.collect.demonstrators import Demonstrator, make_demonstrator
from strathack.collect.display import Display, print_summary
from strathack.collect.environment import NO_PROGRESS_TIMEOUT, OPTIONS, nle_version
from strathack.collect.game import PlayedGame
from strathack.collect.pools import Factory, FailedSeed, LocalPool, Outcome, Pool, RayPool
from strathack.dataset.errors import InputError, RunError
from strathack.dataset.files import folder_lock, remove_temporary_files
from strathack.dataset.folder import DatasetFolder
from strathack.dataset.schema import game_name
from strathack.dataset.shard import Provenance


def main(config: CollectConfig) -> int:
    """The command. Returns its exit status: 0, 1 if a seed could not be played, 130 after Ctrl-C.

    Raises:
        InputError: If the request is bad; nothing on disk has changed then.
        RunError: If the run had to stop; what is on disk is valid.
    """
    game = config.game
    make_demonstrator(game.demonstrator)  # a bad name is refused before anything starts
    game.clock.environment()  # and so is a clock that cannot be held
    if config.workers == 0 and not game.clock.is_running():
        restart_under(game.clock)
    with Interruption() as interruption:
        finished = collect(config, partial(make_demonstrator, game.demonstrator), interruption)
    folder = DatasetFolder(config.out)
    failures = folder.read_failures()
    print_summary(folder, failures)
    if not finished:
        print("interrupted: what is there is valid; the same command goes on from here", file=sys.stderr)
        return 128 + interruption.number
    return 1 if failures else 0


def collect(config: CollectConfig, factory: Factory, interruption: Interruption) -> bool:
    """Plays what is missing, game by game into the folder, and merges the shards.

    Args:
        config: What to collect and how.
        factory: Makes the demonstrator, in the processes that play.
        interruption: Asked all the time whether to stop.

    Returns:
        False if it was interrupted.

    Raises:
        InputError: If the folder holds something else, or a dataset with other settings.
        RunError: If a file cannot be written.
    """
    folder = DatasetFolder(config.out)
    demonstrator = factory()
    there = folder.read_settings()
    settings = _agree(config, demonstrator, there)
    _check_writable(config.out)
    with _writing(folder), ExitStack() as lock:
        if there is not None:
            lock.enter_context(folder_lock(config.out))
        present = {game.name for game in folder.games()}
        missing = [seed for seed in parse_seeds(config.seeds) if game_name(seed) not in present]
        with ExitStack() as playing:
            if missing:
                display = interruption.display = Display(len(missing), quiet=config.quiet)
                with display.starting():
                    pool = _open_pool(config, factory, _provenance(config.game, demonstrator), display, interruption)
                playing.enter_context(closing(pool))
                playing.enter_context(display)
            # Nothing is written before the pool is open, since that may fail, too.
            if there is None:
                config.out.mkdir(parents=True, exist_ok=True)
                lock.enter_context(folder_lock(config.out))
            remove_temporary_files(config.out)
            if settings != there:
                folder.write_settings(settings)
            if missing:
                _play(pool, missing, config.retries, folder, display, interruption)
        if not interruption:
            for _ in folder.merge(config.games_per_shard):
                if interruption:
                    break
    return not interruption


def _play(
    pool: Pool,
    seeds: Sequence[int],
    retries: int,
    folder: DatasetFolder,
    display: Display,
    interruption: Interruption,
) -> None:
    """The loop: hands out seeds, writes every finished game at once, tries failed seeds again."""
    waiting, attempts, failures = deque(seeds), Counter[int](), folder.read_failures()
    while (waiting or pool.running) and not interruption:
        while waiting and pool.has_room:
            pool.submit(waiting.popleft())
        for outcome in _poll(pool):
            attempts[outcome.seed] += 1
            retried = isinstance(outcome, FailedSeed) and attempts[outcome.seed] <= retries
            if retried:
                waiting.append(outcome.seed)
            else:
                _keep(outcome, folder, failures)
            display.show(outcome, retried=retried)
        display.update(pool.steps(), pool.running)


def _poll(pool: Pool) -> Sequence[Outcome]:
    """Outcomes; none if a running game was dropped by Ctrl-C."""
    try:
        return pool.poll()
    except KeyboardInterrupt:
        return []


def _keep(outcome: Outcome, folder: DatasetFolder, failures: dict[str, str]) -> None:
    """Writes a game, or that a seed could not be played."""
    name = game_name(outcome.seed)
    if isinstance(outcome, PlayedGame):
        folder.add_game(name, outcome.shard)
    known = failures.pop(name, None)
    if isinstance(outcome, FailedSeed):
        failures[name] = outcome.reason
    if failures.get(name) != known:
        folder.write_failures(failures)


def _open_pool(
    config: CollectConfig,
    factory: Factory,
    provenance: Provenance,
    display: Display,
    interruption: Interruption,
) -> LocalPool | RayPool:
    if config.workers != 0:
        return RayPool(config.workers, config.address, config.game, factory, provenance)

    def on_step() -> None:
        display.update(pool.steps(), pool.running)
        if interruption:
            raise KeyboardInterrupt

    pool = LocalPool(config.game, factory, provenance, on_step)
    return pool


def _agree(config: CollectConfig, demonstrator: Demonstrator, there: dict[str, object] | None) -> dict[str, object]:
    """The settings that the dataset has or gets.

    Raises:
        InputError: If they are not those of the dataset that is there.
    """
    asked: dict[str, object] = {
        **config.game.settings(),
        "demonstrator": demonstrator.name,
        "demonstrator_version": demonstrator.version,
        "nle_version": nle_version(),
    }
    seeds = set(parse_seeds(config.seeds))
    if there is not None:
        differing = differing_settings(there, asked)
        if differing:
            raise InputError(f"{config.out}: holds games of other settings: {'; '.join(differing)}")
        known = set(parse_seeds(str(there["seeds"])))
        if seeds - known and not config.extend:
            raise InputError(
                f"{config.out}: was collected for seeds {there['seeds']}, without {format_seeds(seeds - known)}; "
                "--extend adds them"
            )
        seeds |= known
    return {**asked, "seeds": format_seeds(seeds)}


def _check_writable(path: Path) -> None:
    """Checks that the folder can be written or made.

    Raises:
        InputError: If it cannot.
    """
    existing = path
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir():
        raise InputError(f"{existing}: is a file; expected a folder for the dataset")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(f"{existing}: is not writable")


@contextmanager
def _writing(folder: DatasetFolder) -> Iterator[None]:
    """Turns a failure to write into one line."""
    try:
        yield
    except OSError as error:
        if error.strerror is None:
            raise
        raise RunError(
            f"{error.filename or folder.path}: cannot be written ({error.strerror}); "
            "every game written before is safe, and the same command goes on from there"
        ) from error


def _provenance(options: GameOptions, demonstrator: Demonstrator) -> Provenance:
    played_with = {
        **options.settings(),
        "environment": "NetHackChallenge-v0",
        "no_progress_timeout": NO_PROGRESS_TIMEOUT,
        "nethack_options": list(OPTIONS),
        "fix_moon_phase": options.clock.fixes_moon_phase,
    }
    return Provenance(
        observations=options.observations,
        demonstrator=demonstrator.name,
        demonstrator_version=demonstrator.version,
        nle_version=nle_version(),
        options=json.dumps(played_with),
        command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        revision=git_revision(),
        created=real_time().isoformat(timespec="seconds"),
    )


def git_revision() -> str:
    """The revision of the checkout that this code runs from; empty where it runs from an installed package."""
    here = Path(__file__).resolve()
    git = ["git", "-C", str(here.parent)]
    try:
        top = subprocess.run([*git, "rev-parse", "--show-toplevel"], capture_output=True, text=True, check=True)
        if Path(top.stdout.strip()) != here.parent.parent:
            return ""
        return subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


@dataclass
class Interruption:
    """Ctrl-C and SIGTERM: the first asks the run to stop, the second ends it at once.

    True as a condition once one has come. While entered it handles both signals.

    Attributes:
        number: The first signal's number, 0 before.
        display: Restored before an end at once.
    """

    number: int = 0
    display: Display | None = None

    def __bool__(self) -> bool:
        return self.number != 0

    def __enter__(self) -> Interruption:
        self._before = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.number:
            if self.display is not None:
                self.display.__exit__(None, None, None)
            os._exit(128 + number)  # the janitors see to processes and temporary folders
        self.number = number
