"""``strathack dataset verify``: structure and checksums, and with ``--replay`` the games themselves."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from strathack.collect.options import VerifyConfig
from strathack.collect.playing.clock import default_clock
from strathack.collect.running.jobs import Interruption, Refused, do_all
from strathack.collect.running.pools import Failed, Outcome
from strathack.dataset.errors import FormatError, InputError
from strathack.dataset.files import atomic_write
from strathack.dataset.folder import DatasetFolder
from strathack.dataset.progress import progress
from strathack.dataset.reading import Dataset
from strathack.dataset.shard import read_tables
from strathack.dataset.verify import Problem, verify_shard


def main(config: VerifyConfig) -> int:
    """The command. Returns 0, 1 if something is not as it was written, 130 after Ctrl-C."""
    shards = DatasetFolder(config.data).shards() if config.data.is_dir() else [config.data]
    if not shards or not all(shard.exists() for shard in shards):
        raise InputError(f"{config.data}: expected a dataset folder or a shard")
    if config.replay and config.placement.workers == 0:
        default_clock(here=True)  # now, rather than after the files were read
    problems = _verify(shards, quiet=config.quiet)
    for problem in problems:
        print(problem)
    if not config.replay:
        return _conclude(len(shards), problems)
    unsound = {problem.game for problem in problems}
    dataset = Dataset(config.data, on_corrupt="skip").select(config.select)
    sound = dataset.take(i for i, row in enumerate(dataset.rows) if row["game"].decode() not in unsound)
    departed, status = _replay(config, sound)
    for name, reason in departed.items():
        print(f"{name}: {reason}")
    if status:
        print("interrupted: the same command goes on from here", file=sys.stderr)
        return status
    print(f"{len(sound) - len(departed):,} of {len(dataset):,} games came back from their keys")
    return max(_conclude(len(shards), problems), int(bool(departed)))


def _conclude(shards: int, problems: list[Problem]) -> int:
    if problems:
        print(f"{len(problems)} problems in {shards} shards; `strathack dataset repair` keeps what verifies")
        return 1
    print(f"{shards} shards as they were written")
    return 0


def _verify(shards: list[Path], *, quiet: bool) -> list[Problem]:
    steps = 0
    for shard in shards:
        try:
            steps += int(read_tables(shard).rows["steps"].sum())
        except FormatError:
            continue  # to be told of below
    problems: list[Problem] = []
    with progress("verifying", steps, quiet=quiet) as advance:
        for shard in shards:
            problems += verify_shard(shard, lambda game: advance(len(game)))
    return problems


def _replay(config: VerifyConfig, dataset: Dataset) -> tuple[dict[str, str], int]:
    """Replays games that an interrupted run has not; returns those that did not come back, and the exit status."""
    from strathack.collect.replaying.expanding import replaying_work  # needs the simulator

    record = _Record(config.data)
    waiting = dataset.take(i for i, row in enumerate(dataset.rows) if row["game"].decode() not in record.done)
    work = replaying_work(waiting, None, retries=2, quiet=config.quiet, placement=config.placement)
    with Interruption() as interruption:
        finished = do_all(work, config.placement, record.keep, quiet=config.quiet, interruption=interruption)
    if not finished:
        return record.departed, 128 + interruption.number
    record.remove()
    return record.departed, 0


class _Record:
    """What an interrupted run has replayed, in a file beside the shards; gone when a run ends."""

    def __init__(self, data: Path) -> None:
        self._path = (data if data.is_dir() else data.parent) / f".replayed-{data.stem}.json"
        content: dict[str, Any] = json.loads(self._path.read_text()) if self._path.exists() else {}
        self.done: dict[str, str] = content

    @property
    def departed(self) -> dict[str, str]:
        """Games that did not come back → why."""
        return {name: reason for name, reason in self.done.items() if reason}

    def keep(self, outcome: Outcome) -> None:
        """Takes in a game."""
        if isinstance(outcome, Failed):
            reason = outcome.reason
        else:
            reason = outcome.result.reason if isinstance(outcome.result, Refused) else ""
        self.done[outcome.job] = reason
        if os.access(self._path.parent, os.W_OK):  # a dataset that may only be read is verified in one go
            atomic_write(self._path, json.dumps(self.done).encode())

    def remove(self) -> None:
        """Removes the file."""
        self._path.unlink(missing_ok=True)
