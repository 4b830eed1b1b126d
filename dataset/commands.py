"""The dataset commands that need no simulator; each returns its exit status."""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from strathack.dataset.content import content_digest
from strathack.dataset.copying import copies, copy_games, fullest, one_game_shard, sound_games
from strathack.dataset.errors import InputError, RunError
from strathack.dataset.figures import known_figures, strategy_steps
from strathack.dataset.files import absolute
from strathack.dataset.folder import DatasetFolder
from strathack.dataset.keys import check_replayable, keys_only_shard
from strathack.dataset.minari import AboutMinari, export_minari
from strathack.dataset.options import (
    CompactConfig,
    ExportConfig,
    InfoConfig,
    MergeConfig,
    RepairConfig,
    SplitConfig,
)
from strathack.dataset.printing import scores_by_role, strategy_shares
from strathack.dataset.progress import progress
from strathack.dataset.reading import Dataset, Game, selected_games, shards_at
from strathack.dataset.remote.addresses import place_text
from strathack.dataset.remote.pointers import size_of
from strathack.dataset.splits import Fractions
from strathack.dataset.writer import CONTENT, DatasetWriter, agreed_settings


def info(config: InfoConfig) -> int:
    """``strathack dataset info``."""
    dataset = Dataset(config.data).select(config.select)
    facts = describe(dataset)
    if config.json:
        print(json.dumps(facts, indent=1))
    else:
        _print_facts(facts, dataset.rows, Console())
    return 0


def describe(dataset: Dataset) -> dict[str, Any]:
    """Returns a summary of a dataset as plain values.

    Returns:
        Numbers of shards, games, steps and bytes; observation keys; demonstrators; games, steps and scores by role;
        games by end, completeness, origin, split and by how the demonstrator played; and steps by strategy.
    """
    games = dataset.games
    bots = Counter(game.attributes["bot"] for game in dataset if "bot" in game.attributes)
    roles = known_figures(games.assign(role=games["role"].replace("", "unknown"))).groupby("role", observed=True)
    by_role = {
        role: {
            "games": len(of_role),
            "steps": int(of_role["steps"].sum()),
            "mean_score": _known(of_role["score"].mean()),
            "median_score": _known(of_role["score"].median()),
        }
        for role, of_role in roles
    }
    return {
        "shards": len(dataset.paths),
        "games": len(dataset),
        "steps": dataset.steps,
        "bytes": sum(map(size_of, dataset.paths)),
        "whole_shards": len(dataset) == sum(len(tables.rows) for tables in dataset.tables),
        "observations": list(dataset.observations),
        "demonstrators": sorted({game.provenance.played_by for game in dataset}),
        "by_role": by_role,
        **{name: _counts(games[name]) for name in ("end", "completeness", "origin", "split")},
        "bot": dict(bots.most_common()),
        "strategy_steps": dict(strategy_steps(dataset).most_common()),
    }


def _counts(column: Any) -> dict[str, int]:
    return {str(name): int(count) for name, count in column.value_counts().items() if count}


def _print_facts(facts: dict[str, Any], rows: np.ndarray, console: Console) -> None:
    # Of shards with other games, too, the bytes say nothing of a step.
    tells = facts["steps"] and facts["whole_shards"]
    per_step = f", {facts['bytes'] / facts['steps']:.2f} bytes a step" if tells else ""
    shards = f"{facts['shards']} shards" + ("" if facts["whole_shards"] else " with other games, too")
    line = f"{facts['games']:,} games, {facts['steps']:,} steps, {facts['bytes']:,} bytes{per_step}"
    console.out(f"{line} in {shards}", highlight=False)
    console.out(f"played by {', '.join(facts['demonstrators'])}", highlight=False)
    console.out(f"observations: {', '.join(facts['observations']) or 'none, keys only'}", highlight=False)
    for name in ("end", "completeness", "origin", "split", "bot"):
        counts = ", ".join(f"{what} {count:,}" for what, count in facts[name].items())
        if counts:
            console.out(f"{name}: {counts}", highlight=False)
    console.print(scores_by_role(rows))
    console.print(strategy_shares(facts["strategy_steps"]))


def repair(config: RepairConfig) -> int:
    """``strathack dataset repair``: returns 0 if nothing was wrong, 1 if something was left out."""
    shards = shards_at(config.data)
    kept: dict[str, Game] = {}
    problems = []
    with warnings.catch_warnings():  # about shards that cannot be read, which are printed below
        warnings.simplefilter("ignore")
        readable = Dataset(shards, on_corrupt="skip")
        steps = readable.steps
    fractions = readable.tables[0].fractions if len(readable) else Fractions()
    settings = {"repaired_from": place_text(config.data), CONTENT: content_digest(readable)}
    out = _make_dataset(config.out, settings, fractions)
    with progress("verifying", steps, quiet=config.quiet) as advance:
        for shard in shards:
            games, found = sound_games(shard, lambda game: advance(len(game)))
            problems += found
            for game in games:
                kept.setdefault(game.name, game)
    with out:
        copy_games(kept.values(), out, one_game_shard, config, "copying")
    for problem in problems:
        print(problem)
    print(f"{len(kept):,} games kept, {len(problems)} problems, in {config.out}")
    return 1 if problems else 0


def merge(config: MergeConfig) -> int:
    """``strathack dataset merge``."""
    datasets = [Dataset(source) for source in config.sources]
    by_name = copies(datasets)
    best = {name: fullest(of_name) for name, of_name in by_name.items()}
    different = sorted(name for name, game in best.items() if game is None)
    if different and not config.keep_first:
        more = f" and {len(different) - 1} more" if len(different) > 1 else ""
        raise InputError(
            f"merge: {different[0]}{more} stands in several of the datasets and is not known to be the same, labels "
            "and all; --keep-first takes the first of them"
        )
    split_by = dict.fromkeys(dataset.fractions for dataset in datasets)
    if len(split_by) > 1:
        raise InputError("merge: the datasets are split in different ways; strathack dataset split makes them alike")
    content = [content_digest(dataset) for dataset in datasets]
    settings = {"merged_from": [place_text(source) for source in config.sources], CONTENT: content}
    out = _make_dataset(config.out, settings, datasets[0].fractions)
    games = [of_name[0] if (game := best[name]) is None else game for name, of_name in by_name.items()]
    with out:
        copy_games(games, out, one_game_shard, config, "merging")
    for name, of_name in by_name.items():
        if len(of_name) > 1:
            kept = "not known to be the same; the first" if best[name] is None else "the same; the fullest"
            print(f"{name}: in several datasets, {kept} was kept")
    print(f"{len(games):,} games of {len(datasets)} datasets in {config.out}")
    return 0


def split(config: SplitConfig) -> int:
    """``strathack dataset split``."""
    folder = DatasetFolder(config.data)
    if not config.data.is_dir() or folder.read_settings() is None:
        raise InputError(f"{config.data}: expected a dataset folder")
    steps = Dataset(config.data).steps
    with DatasetWriter(config.data) as writer, progress("splitting", steps, quiet=config.quiet) as advance:
        for shard in writer.split(config.fractions):
            advance(Dataset(shard).steps)
    counts = _counts(Dataset(config.data).games["split"])
    print(", ".join(f"{name} {count:,} games" for name, count in counts.items()))
    return 0


def export(config: ExportConfig) -> int:
    """``strathack dataset export``."""
    from strathack.dataset.exporting import export_parquet  # here, since other commands do not need pyarrow

    dataset = selected_games(config.data, config.select, "export")
    out = absolute(config.out)
    unfinished = out.with_name(f".{out.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        with progress("exporting", dataset.steps, quiet=config.quiet) as advance:
            if config.to == "minari":
                export_minari(dataset, unfinished, _about(config), _counting(advance))
            else:
                export_parquet(dataset, unfinished, _counting(advance))
        unfinished.rename(out)
    except OSError as error:
        reason = error.strerror or error
        raise RunError(f"{config.out}: cannot be written ({reason}); nothing of it is left") from error
    finally:  # a partial export would block the next one
        shutil.rmtree(unfinished, ignore_errors=True)
    print(f"{len(dataset):,} games, {dataset.steps:,} steps in {config.out}")
    return 0


def _about(config: ExportConfig) -> AboutMinari:
    name = absolute(config.out).name
    return AboutMinari(
        f"{config.namespace}/{name}" if config.namespace else name,
        config.author,
        config.author_email,
        config.code_permalink,
    )


def compact(config: CompactConfig) -> int:
    """``strathack dataset compact``."""
    dataset = selected_games(config.data, config.select, "compact")
    check_replayable(dataset, "compact")
    settings = {"compacted_from": place_text(config.data), CONTENT: content_digest(dataset), "observations": []}
    out = _make_dataset(config.out, settings, dataset.fractions)
    unknown = int((dataset.rows["frames_sha256"] == b"").sum())
    if unknown:
        print(
            f"strathack: {unknown:,} games have no digest of their frames, so that without these a replay is held "
            "against their scores alone; dataset expand gives them one",
            file=sys.stderr,
        )
    with out:
        copy_games(dataset, out, keys_only_shard, config, "compacting")
    size = sum(path.stat().st_size for path in out.folder.shards())
    steps = max(Dataset(config.out).steps, 1)
    print(f"{len(Dataset(config.out)):,} games, {steps:,} steps, {size / steps:.2f} bytes a step in {config.out}")
    return 0


def _known(statistic: float) -> float | None:
    return None if np.isnan(statistic) else float(statistic)


def _counting(advance: Callable[[int], None]) -> Callable[[Game], None]:
    return lambda game: advance(len(game))


def _make_dataset(path: Path, settings: dict[str, Any], fractions: Fractions) -> DatasetWriter:
    """Returns a writer for a dataset that is new or was begun with the same settings, split as the one it is made of.

    Raises:
        InputError: If the folder holds a dataset with other settings.
    """
    # Earlier releases did not tell of the content.
    agreed_settings(path, settings, newer=(CONTENT,))
    return DatasetWriter(path, settings, fractions=fractions)
