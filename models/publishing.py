"""Policies to be published: weights alone, with what is to be known of them; and those that come with this package."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml

from strathack.dataset.codec import finite, to_plain
from strathack.dataset.errors import FormatError, InputError
from strathack.dataset.files import absolute, atomic_write
from strathack.dataset.manifest import sha256_of
from strathack.models.cards import card_of, results_of
from strathack.models.cleaved import AnyPolicy
from strathack.models.fitting import VALIDATION
from strathack.models.offline.options import used_options
from strathack.models.options import BF16_MANTISSA, PublishConfig
from strathack.models.places import MODEL, checkpoint_at, is_policy, published
from strathack.models.precision import with_mantissa
from strathack.models.running import METRICS, OPTIONS
from strathack.models.saving import (
    VALIDATED,
    frames_of,
    load_plain_values,
    load_values,
    policy_of_values,
    save_policy,
    weights_digest,
)

CONFIG, CARD, REPLAY, RESULTS = "config.json", "README.md", "replay.mp4", ".eval_results/nethack.yaml"
"""Files of a published folder beside the checkpoint."""

MADE = ".published.json"
"""What a folder was made from; it is not uploaded."""

EVALUATION = "evaluation.json"

TOLD_OPTIONS = (
    "lanes", "unroll", "steps", "minutes", "passes", "learning_rate", "weight_decay", "warmup", "final_rate", "clip",
    "strategy_weight", "head_weight", "label", "ema", "precision", "select", "seed",
)  # fmt: skip
"""Options of a run that are told of its policy."""

TOLD_FINETUNING: Mapping[str, tuple[str, ...]] = {
    "appo": (
        "unroll", "passes", "discount", "learning_rate", "critic_learning_rate", "entropy", "normalise_advantages",
        "critic_warmup", "freeze",
    ),
    "imitation": ("demos_weight", "kickstart_weight"),
}  # fmt: skip
"""Options of fine-tuning that are told of a policy, by their groups."""

TOLD_RESULTS = ("steps", "action_nll", "accuracy", "top5", "strategy_nll", "strategy_accuracy", "macro_recall")
"""Results of a validation that are told of a policy."""


def publish(options: PublishConfig) -> Path:
    """Writes a policy's weights, its configuration and what is known of it into one file, or a folder with a card.

    Returns:
        The file or folder.

    Raises:
        InputError: If there is no such run, or the file or folder exists already.
        FormatError: If a file of the run or of the evaluation is not what it should be.
    """
    if options.out.exists():
        raise InputError(f"{options.out}: exists already, made otherwise; take another folder, or remove it")
    for name in ("replay", "notes"):
        path = getattr(options, name)
        if path is not None and not path.is_file():
            raise InputError(f"{name}: {path}: no such file")
    evaluated = _evaluation_file(options)
    checkpoint = checkpoint_at(options.run)
    values = load_values(checkpoint)
    policy = policy_of_values(values, checkpoint)
    about: dict[str, Any] = {**values["about"], "frames": frames_of(values), **_training_of(options.run, values)}
    digest = weights_digest(policy)
    if options.mantissa < BF16_MANTISSA:
        policy.load_state_dict({name: _kept(value, options.mantissa) for name, value in policy.state_dict().items()})
        about["mantissa"] = options.mantissa
        before, digest = digest, weights_digest(policy)
        if digest != before:
            about.pop("evaluation", None)  # of the weights as they were
    if evaluated is not None:
        about["evaluation"] = evaluation_of(evaluated, digest)
    for name, usual in (("temperature", 1.0), ("patience", 0)):
        value = getattr(options, name)
        if value is not None:
            about.pop(name, None)
            about.update({} if value == usual else {name: value})
    if options.precision == "bf16":
        policy = policy.to(torch.bfloat16)
    if not options.makes_folder:
        save_policy(options.out, policy, about)
        return options.out
    unfinished = absolute(options.out).with_name(f".{absolute(options.out).name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        unfinished.mkdir(parents=True)
        write_folder(unfinished, policy, about)
        atomic_write(unfinished / MADE, json.dumps(_made_from(options)).encode())
        card = card_of(policy.config, about, **_facts(options))
        atomic_write(unfinished / CARD, card.encode())
        if options.replay is not None:
            shutil.copyfile(options.replay, unfinished / REPLAY)
        unfinished.rename(options.out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return options.out


def _evaluation_file(options: PublishConfig) -> Path | None:
    """Returns the evaluation's file, None if none is given.

    Raises:
        InputError: If it is not there.
    """
    if options.evaluation is None:
        return None
    path = options.evaluation / EVALUATION
    if not path.is_file():
        raise InputError(f"evaluation: {path}: no such file")
    return path


def _kept(value: torch.Tensor, bits: int) -> torch.Tensor:
    """Returns a policy's weight to so many bits of mantissa; whole numbers stay as they are."""
    return with_mantissa(value, bits) if value.is_floating_point() else value


def _training_of(run: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what is to be told of a run: its options, and the validation of the weights that are published."""
    about: dict[str, Any] = {}
    if (run / OPTIONS).is_file():  # a published folder has none
        given = _read(run / OPTIONS)
        if "counters" in values:
            return _finetuning_of(given, values)
        about["options"] = {name: given[name] for name in TOLD_OPTIONS if given.get(name) is not None}
        algorithm = given.get("algorithm", "bc")
        if algorithm != "bc":
            about["options"].pop("head_weight", None)
            told = {f"offline.{name}": given["offline"][name] for name in used_options(algorithm)}
            about["options"] = {"algorithm": algorithm, **about["options"], **told}
    validation = values.get(VALIDATED)
    if validation is None and _is_of_last_validation(run, values):  # a run of the release before
        validation = _read(run / VALIDATION)
    if validation is not None:
        about["validation"] = {name: validation.get(name) for name in TOLD_RESULTS}
    return about


def _finetuning_of(given: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what is to be told of a run of fine-tuning.

    Args:
        given: The run's options.
        values: Its checkpoint.
    """
    began = [Path(word) for word in given.get("run") or ()]
    about: dict[str, Any] = {}
    # What it began with may be gone by now.
    if "cloned_on" in values["about"]:
        about["dataset"] = values["about"]["cloned_on"]
    elif began and is_policy(began[0]):  # a run of the release before
        before = load_plain_values(checkpoint_at(began[0]))
        about["dataset"] = before["about"].get("dataset", "")
        if "frames" not in values["about"]:
            about["frames"] = frames_of(before)
    options = {
        f"{group}.{name}": given[group][name]
        for group, names in TOLD_FINETUNING.items()
        for name in names
        if given[group].get(name) is not None
    }
    about["finetuning"] = {
        "frames": int(values["counters"]["frames"]),
        "env": given["env"],
        "recipe": given["recipe"],
        "began_with": began[0].name if began else None,
        "options": options,
    }
    return about


def _is_of_last_validation(run: Path, values: Mapping[str, Any]) -> bool:
    """Returns whether a checkpoint of a run is of the step of the last validation, which validation.json tells."""
    if not (run / VALIDATION).is_file() or not (run / METRICS).is_file():
        return False
    rows = pd.read_csv(run / METRICS)
    validated = rows.filter(like="validation/").notna().any(axis=1)
    return bool(validated.any()) and int(rows["step"][validated].iloc[-1]) == values.get("global_step")


def is_made(options: PublishConfig) -> bool:
    """Returns whether the folder is there already, made by the same options from the same checkpoint."""
    try:
        there: Any = json.loads((options.out / MADE).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(there, dict) and _unusual(there) == _unusual(_made_from(options))


def _unusual(made_from: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what is not as by default: a release's new options do not make a folder that is there another's."""
    usual = {field.name: field.default for field in fields(PublishConfig)}
    return {name: value for name, value in made_from.items() if name not in usual or value != usual[name]}


def _made_from(options: PublishConfig) -> dict[str, Any]:
    given: dict[str, Any] = to_plain(options)
    evaluated = None if (path := _evaluation_file(options)) is None else sha256_of(path)
    checkpoint = sha256_of(checkpoint_at(options.run))
    return {**given, "push": None, "private": False, "checkpoint": checkpoint, "evaluated": evaluated}


def _facts(options: PublishConfig) -> dict[str, str]:
    """Returns what a publisher says of a policy, for its card."""
    return {
        "name": options.name or absolute(options.out).name,
        "dataset": options.dataset,
        "license": options.license,
        "address": options.push or "",
        "replay": REPLAY if options.replay is not None else "",
        "notes": options.notes.read_text("utf-8", "replace") if options.notes is not None else "",
    }


def write_folder(folder: Path, policy: AnyPolicy, about: Mapping[str, Any]) -> None:
    """Writes what a policy's folder on the hub has, but for its card.

    Args:
        folder: The folder, which exists.
        policy: The policy.
        about: Plain values to save with it.
    """
    save_policy(folder / MODEL, policy, about)
    # For people and tools; nothing is read from it here, since the checkpoint has the same in its header.
    told = {"library_name": "strathack", "policy": policy.config.to_values(), "about": dict(about)}
    atomic_write(folder / CONFIG, json.dumps(told, indent=1, sort_keys=True).encode() + b"\n")
    results = results_of(about)
    if results:
        (folder / RESULTS).parent.mkdir(exist_ok=True)
        atomic_write(folder / RESULTS, yaml.safe_dump(results, sort_keys=False).encode())


def evaluation_of(path: Path, weights: str) -> dict[str, Any]:
    """Returns what an evaluation says of its policy: how it acted, on which seeds, and its figures with intervals.

    Args:
        path: The evaluation's file.
        weights: The digest of the policy's weights.

    Raises:
        InputError: If other weights played.
        FormatError: If the file is no result of ``strathack evaluate``.
    """
    values = _read(path)
    try:
        settings, summary = values["settings"], values["summary"]
        if settings.get("weights_sha256", weights) != weights:
            raise InputError(f"evaluation: {path} is of games that other weights played, or weights of other bits")
        acting = {name: settings[name] for name in ("seeds", "clock", "max_steps", "greedy", "nle_version")}
        # Of the games that are summed up; the folder may have more.
        acting["seeds"] = values.get("seeds", settings["seeds"])
        acting |= {name: settings[name] for name in ("character", "roles") if settings.get(name) not in (None, "", "@")}
        acting |= {"temperature": settings.get("temperature", 1.0), "patience": settings.get("patience", 0)}
        acting |= {"min_strategy_steps": settings["hold"]}
        acting |= {"games": summary["games"], "ends": summary["ends"]}
        acting |= {name: values[name] for name in ("created", "protocol") if values.get(name)}
        return {**acting, "figures": finite(summary["figures"])}
    except (KeyError, TypeError) as error:
        raise FormatError(f"{path}: no result of strathack evaluate: {error}") from None


def published_rows() -> list[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    """Returns name, configuration and what is known of every policy that comes with this package."""
    values = {name: load_plain_values(path) for name, path in published().items()}
    return [(name, one["policy"], one["about"]) for name, one in values.items()]


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise FormatError(f"{path}: cannot be read: {error}") from None
