"""Exports to Minari, the format of Farama's offline datasets."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from strathack.dataset.actions import ACTION_NAMES
from strathack.dataset.batches import Recoding
from strathack.dataset.errors import InputError
from strathack.dataset.figures import tells_rewards
from strathack.dataset.files import absolute
from strathack.dataset.reading import Dataset, Game
from strathack.dataset.schema import COMPLETENESS, OBSERVATIONS


@dataclass(frozen=True)
class AboutMinari:
    """What a Minari dataset says of itself.

    Attributes:
        dataset_id: ``namespace/name-v0``, or ``name-v0``.
        author: Who made it; empty if nobody is named.
        author_email: Where that person is reached.
        code_permalink: The address of the code that made it.
    """

    dataset_id: str
    author: str = ""
    author_email: str = ""
    code_permalink: str = ""


def _package(name: str) -> Any:
    """Returns a package that the export needs.

    Raises:
        InputError: If it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(f'export: --to minari needs the package {name}: pip install "strathack[export]"') from error


def export_minari(dataset: Dataset, out: Path, about: AboutMinari, on_game: Callable[[Game], None]) -> None:
    """Writes a Minari dataset, one episode a game, with the specification of its environment.

    Minari requires one more observation than actions. The frame after the last action is not stored, so the last stored
    frame is written twice. Strategy labels go into ``infos``, by their codes in ``dataset.vocabularies``.

    Args:
        dataset: Games with observations and keys.
        out: The folder to write. Minari finds it by its id once it is at that path below ``MINARI_DATASETS_PATH``.
        about: What it says of itself.
        on_game: Called after each game.

    Raises:
        InputError: If Minari is not installed or the games lack observations or keys.
    """
    minari = _package("minari")
    storage = _package("minari.dataset.minari_storage").MinariStorage
    spaces = _package("gymnasium.spaces")
    if not dataset.observations:
        raise InputError("export: the games have no observations in common; expand keys-only ones first")
    screens = [game.name for game in dataset if game.info["origin"] == "screens"]
    if screens:
        raise InputError(f"export: {screens[0]} has no actions; leave it out by --select \"origin != 'screens'\"")
    untold = [game.name for game in dataset if not tells_rewards(game)]
    if untold:
        raise InputError(f"export: {untold[0]} tells no rewards; dataset expand replays it")
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
            "dataset_id": about.dataset_id,
            "minari_version": minari.__version__,
            "env_spec": _specification(dataset).to_json(),
            "requirements": [f"nle=={provenance.nle_version}"] if provenance.nle_version else ["nle"],
            # Minari wants sets of people.
            **({"author": {about.author}} if about.author else {}),
            **({"author_email": {about.author_email}} if about.author_email else {}),
            **({"code_permalink": about.code_permalink} if about.code_permalink else {}),
            "algorithm_name": provenance.played_by,
            "description": "NetHack games with the demonstrator's strategy at every step, exported by strathack. "
            + " ".join(f"{label}: {', '.join(names)}." for label, names in dataset.vocabularies.items()),
        }
    )
    for episode in _episodes(dataset, on_game):
        storage.update_episodes([episode])


def _specification(dataset: Dataset) -> Any:
    """Returns the specification of the environment that the games were played in, as gymnasium makes it again."""
    registration = _package("gymnasium.envs.registration")
    options = dataset.tables[0].provenance.settings
    given: dict[str, Any] = {name: options[name] for name in ("character", "no_progress_timeout") if name in options}
    return registration.EnvSpec(
        id="NetHackChallenge-v0",
        entry_point="nle.env.tasks:NetHackChallenge",
        order_enforce=False,
        disable_env_checker=True,
        kwargs={"savedir": None, "observation_keys": list(dataset.observations), **given},
    )


def _box(spaces: Any, key: str) -> Any:
    spec = OBSERVATIONS[key]
    limits = np.iinfo(spec.dtype)
    return spaces.Box(limits.min, limits.max, spec.shape, spec.dtype)


def _episodes(dataset: Dataset, on_game: Callable[[Game], None]) -> Iterator[Any]:
    buffer = importlib.import_module("minari.data_collector").EpisodeBuffer
    labels = Recoding(dataset)
    for number, game in enumerate(game for game in dataset if len(game)):
        steps = len(game)
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
            infos={name: _one_more(labels.read(game, name)) for name in ("strategy", "substrategy", "hihack_strategy")},
        )
        on_game(game)


def _one_more(values: np.ndarray) -> np.ndarray:
    return np.concatenate([values, values[-1:]])
