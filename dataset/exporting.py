"""Exports for other tools: Minari datasets, and Parquet tables."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from strathack.dataset.actions import ACTION_NAMES
from strathack.dataset.errors import InputError
from strathack.dataset.files import absolute
from strathack.dataset.labels import names_by_code
from strathack.dataset.reading import Dataset, Game
from strathack.dataset.schema import COMPLETENESS, INFERRED, LABEL_COLUMNS, OBSERVATIONS, PROBABILITY, STORED_COLUMNS

ROWS_PER_GROUP = 1 << 20
"""Steps that are gathered into one row group of a Parquet file."""


def _package(name: str, to: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(f'export: --to {to} needs the package {name}: pip install "strathack[export]"') from error


def export_games(dataset: Dataset, out: Path) -> None:
    """Writes ``games.parquet``, the table of games, into a folder."""
    dataset.games.drop(columns="shard").to_parquet(out / "games.parquet", index=False)


def export_parquet(dataset: Dataset, out: Path, on_game: Callable[[Game], None]) -> None:
    """Writes ``games.parquet``, the table of games, and ``steps.parquet``, every one-dimensional array.

    Each step is a row with the game's name and the step's number in the game; actions, strategies and substrategies are
    given by name.

    Raises:
        InputError: If pyarrow is not installed.
    """
    arrow = _package("pyarrow", "parquet")
    parquet = _package("pyarrow.parquet", "parquet")
    out.mkdir(parents=True, exist_ok=True)
    export_games(dataset, out)
    text = arrow.dictionary(arrow.int32(), arrow.string())
    inferred = [name for name in INFERRED.values() if name not in dataset.vocabularies]
    lacking = {*inferred, *(f"{name}{PROBABILITY}" for name in inferred)}
    written = [name for name in STORED_COLUMNS if name not in lacking]
    columns = {name: text if name in (*LABEL_COLUMNS, "actions") else _arrow_type(arrow, name) for name in written}
    schema = arrow.schema([("game", text), ("step", arrow.int64()), *columns.items()])
    with parquet.ParquetWriter(out / "steps.parquet", schema, compression="zstd") as writer:
        waiting, rows = [], 0
        for game in dataset:
            waiting.append(arrow.table(_step_columns(arrow, game, written), schema=schema))
            rows += len(game)
            if rows >= ROWS_PER_GROUP:
                writer.write_table(arrow.concat_tables(waiting).unify_dictionaries())
                waiting, rows = [], 0
            on_game(game)
        if waiting:
            writer.write_table(arrow.concat_tables(waiting).unify_dictionaries())


def _arrow_type(arrow: Any, name: str) -> Any:
    return arrow.from_numpy_dtype(np.dtype(STORED_COLUMNS[name]))


def _step_columns(arrow: Any, game: Game, written: Sequence[str]) -> dict[str, Any]:
    steps = len(game)

    def named(codes: np.ndarray, names: list[str]) -> Any:
        return arrow.DictionaryArray.from_arrays(arrow.array(codes.astype(np.int32)), arrow.array(names))

    action_names = [*ACTION_NAMES, *[""] * (256 - len(ACTION_NAMES))]
    columns = {
        "game": named(np.zeros(steps, np.int32), [game.name]),
        "step": np.arange(steps),
        "actions": named(game.actions[:], action_names),
    }
    for name in written:
        stored = game.arrays.get(name)
        if stored is None:
            nothing = named(np.zeros(steps, np.int32), [""])
            columns[name] = nothing if name in LABEL_COLUMNS else arrow.nulls(steps, _arrow_type(arrow, name))
        elif name in LABEL_COLUMNS:
            by_code = names_by_code(stored.codes)
            columns[name] = named(stored[:], [by_code.get(code, "") for code in range(256)])
        elif name not in columns:
            columns[name] = stored[:]
    return columns


def export_minari(dataset: Dataset, out: Path, name: str, on_game: Callable[[Game], None]) -> None:
    """Writes a Minari dataset, one episode a game.

    Minari requires one more observation than actions. The frame after the last action is not stored, so the last stored
    frame is written twice. Strategy labels go into ``infos``, by their codes in ``dataset.vocabularies``.

    Args:
        dataset: Games with observations and keys.
        out: The folder to write. Once the folder is renamed to ``name``, Minari finds it by that id if
            ``MINARI_DATASETS_PATH`` is its parent folder.
        name: The dataset's id, ``<name>-v<number>``.
        on_game: Called after each game.

    Raises:
        InputError: If Minari is not installed or the games lack observations or keys.
    """
    minari = _package("minari", "minari")
    storage = _package("minari.dataset.minari_storage", "minari").MinariStorage
    spaces = _package("gymnasium.spaces", "minari")
    if not dataset.observations:
        raise InputError("export: the games have no observations in common; expand keys-only ones first")
    screens = [game.name for game in dataset if game.info["origin"] == "screens"]
    if screens:
        raise InputError(f"export: {screens[0]} has no actions; leave it out by --select \"origin != 'screens'\"")
    data = absolute(out) / "data"  # absolute, since Minari would put a relative path below itself
    data.mkdir(parents=True)
    storage = storage.new(
        data,
        observation_space=spaces.Dict({key: _box(spaces, key) for key in dataset.observations}),
        action_space=spaces.Discrete(len(ACTION_NAMES)),
        data_format="hdf5",
        jpeg_encoding=False,
    )
    provenance = dataset.tables[0].provenance
    storage.update_metadata(
        {
            "dataset_id": name,
            "minari_version": minari.__version__,
            "algorithm_name": f"{provenance.demonstrator} {provenance.demonstrator_version}".strip(),
            "description": "NetHack games with the demonstrator's strategy at every step, exported by strathack. "
            + " ".join(f"{label}: {', '.join(names)}." for label, names in dataset.vocabularies.items()),
        }
    )
    for episode in _episodes(dataset, on_game):
        storage.update_episodes([episode])


def _box(spaces: Any, key: str) -> Any:
    spec = OBSERVATIONS[key]
    limits = np.iinfo(spec.dtype)
    return spaces.Box(limits.min, limits.max, spec.shape, spec.dtype)


def _episodes(dataset: Dataset, on_game: Callable[[Game], None]) -> Iterator[Any]:
    buffer = importlib.import_module("minari.data_collector").EpisodeBuffer
    for number, game in enumerate(dataset):
        steps = len(game)
        if not steps:
            continue
        last = np.arange(steps) == steps - 1
        complete = game.row["completeness"] == COMPLETENESS["complete"]
        yield buffer(
            id=number,
            seed=int(game.row["core"]) if game.row["core"] >= 0 else None,
            observations={key: _one_more(game.obs[key][:]) for key in dataset.observations},
            actions=game.actions[:].astype(np.int64),
            rewards=game.rewards[:],
            terminations=last & complete,
            truncations=last & ~complete,
            infos={name: _one_more(game.arrays[name][:]) for name in ("strategy", "substrategy", "hihack_strategy")},
        )
        on_game(game)


def _one_more(values: np.ndarray) -> np.ndarray:
    return np.concatenate([values, values[-1:]])
