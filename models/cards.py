"""A policy's card: README.md as the Hugging Face hub reads it, with figures from its evaluation alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

from huggingface_hub import EvalResult, EvalResultEntry, ModelCardData, eval_result_entries_to_yaml

from strathack.dataset.codec import to_plain
from strathack.models.cleaved import AnyConfig
from strathack.models.config import PolicyConfig
from strathack.models.tables import parameter_count, parts_of, with_error

TASK = "NetHackChallenge-v0"

METRICS: Mapping[str, str] = {
    "score": "score", "turns": "turns", "max_depth": "deepest level", "progression": "BALROG progression",
}  # fmt: skip
"""Figure of an evaluation → what it is called."""

_BODY = Path(__file__).with_name("card.md")
"""The text that people read, with places for what is computed."""


def card_of(
    config: AnyConfig,
    about: Mapping[str, Any],
    *,
    name: str = "policy",
    dataset: str = "",
    license: str = "mit",
    address: str = "",
    replay: str = "",
    notes: str = "",
) -> str:
    """Returns the text of a policy's card.

    Args:
        config: The policy's configuration.
        about: What is known of it; see :func:`strathack.models.publishing.publish`.
        name: Its name.
        dataset: The dataset's repository on the hub.
        license: An identifier of the hub's list of licences.
        address: The policy's own repository on the hub.
        replay: The name of a film of a game in the folder.
        notes: Markdown of the publisher's own.
    """
    data = ModelCardData(
        library_name="strathack",
        license=license,
        pipeline_tag="reinforcement-learning",
        tags=["nethack", "nle", "imitation-learning", "hierarchical", "strathack"],
        datasets=[dataset] if dataset else None,
        metrics=["mean_reward"] if "evaluation" in about else None,
        model_name=name,
        eval_results=_index_of(about) or None,
    )
    evaluation = about.get("evaluation")
    body = Template(_BODY.read_text()).substitute(
        name=name,
        kind=_kind(config),
        parameters=f"{parameter_count(config):,}",
        where=f"hf://{address}" if address else "path/to/this/folder",
        hub=address or "path/to/this/folder",
        trained=_trained(about, dataset),
        scores=_scores(evaluation) if evaluation else "It was not evaluated.",
        acting=_acting(about),
        film=f'\n## A game\n\n<video controls src="{replay}"></video>\n' if replay else "",
        notes=f"\n## From the publisher\n\n{notes.strip()}\n" if notes.strip() else "",
        license=license,
    )
    return f"---\n{data.to_yaml()}\n---\n\n{body}"


def results_of(about: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the entries of ``.eval_results``, of the evaluation that was saved with a policy, if there is one."""
    evaluation = about.get("evaluation")
    if evaluation is None:
        return []
    entries = [
        EvalResultEntry(
            dataset_id=f"nle/{TASK}",
            task_id=f"{figure}_{protocol_of(evaluation)}",
            value=values["mean"]["value"],
            date=evaluation.get("created"),
            notes=f"mean of {evaluation['games']} games{with_error(values, ', ± {:.4g} (standard error)')}, median "
            f"{values['median']['value']:.4g} ({values['median']['low']:.4g} to {values['median']['high']:.4g}); "
            f"{_how(evaluation)}",
        )
        for figure, values in _known_figures(evaluation).items()
    ]
    found: list[dict[str, Any]] = eval_result_entries_to_yaml(entries)
    return found


def _known_figures(evaluation: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Returns the figures that a card tells, as far as they are known."""
    figures = {name: evaluation["figures"].get(name) for name in METRICS}
    return {name: values for name, values in figures.items() if values and values["mean"]["value"] is not None}


def protocol_of(evaluation: Mapping[str, Any]) -> str:
    """Returns the name of an evaluation's protocol; its seeds, where it has none."""
    return str(evaluation.get("protocol") or f"seeds_{str(evaluation['seeds']).replace(':', '_')}")


def _index_of(about: Mapping[str, Any]) -> list[EvalResult]:
    evaluation = about.get("evaluation")
    if evaluation is None:
        return []
    return [
        EvalResult(
            task_type="reinforcement-learning",
            dataset_type="nle",
            dataset_name=TASK,
            metric_type="mean_reward" if figure == "score" else figure,
            metric_name=f"{METRICS[figure]}, {evaluation['games']} games, {protocol_of(evaluation)}",
            metric_value=f"{values['mean']['value']:.4g}{with_error(values, ' +/- {:.4g}')}",
            verified=False,
        )
        for figure, values in _known_figures(evaluation).items()
    ]


def _kind(config: AnyConfig) -> str:
    if not isinstance(config, PolicyConfig):
        return "a policy of two parts: one chooses the strategy, one the action given each strategy"
    encoder, core, heads = parts_of(config)
    return f"encoder {encoder}, core {core}, action heads: {heads}"


def _how(evaluation: Mapping[str, Any]) -> str:
    greedy = "greedy" if evaluation["greedy"] else f"temperature {evaluation.get('temperature', 1.0):g}"
    parts = [f"protocol {evaluation['protocol']}"] if evaluation.get("protocol") else []
    parts += [f"{name} {evaluation[name]}" for name in ("character", "roles") if evaluation.get(name)]
    parts += [f"strategies held for {hold} steps"] if (hold := evaluation.get("min_strategy_steps")) else []
    parts += [f"seeds {evaluation['seeds']}"]
    parts += [f"at most {evaluation['max_steps']:,} steps" if evaluation["max_steps"] else "each to its end"]
    return (
        f"{', '.join(parts)}; clock {evaluation['clock']}; {greedy}, "
        f"patience {evaluation.get('patience', 0)}; NLE {evaluation['nle_version']}"
    )


def _scores(evaluation: Mapping[str, Any]) -> str:
    lines = ["| | mean ± s.e. | median (95 %) | interquartile mean (95 %) |", "|---|---:|---:|---:|"]
    for figure, values in _known_figures(evaluation).items():
        digits = 3 if figure == "progression" else 2 if figure == "max_depth" else 0
        error = with_error(values, f" ± {{:,.{digits}f}}")
        cells = [f"{values['mean']['value']:,.{digits}f}{error}"]
        cells += [_estimate(values.get(name), digits) for name in ("median", "interquartile_mean")]
        lines.append(f"| {METRICS[figure]} | {' | '.join(cells)} |")
    ends = ", ".join(f"{end} {count}" for end, count in evaluation["ends"].items())
    return "\n".join([*lines, "", f"{evaluation['games']} games: {_how(evaluation)}. Ends: {ends}."])


def _estimate(estimate: Mapping[str, float] | None, digits: int) -> str:
    if estimate is None:
        return ""
    return f"{estimate['value']:,.{digits}f} ({estimate['low']:,.{digits}f} to {estimate['high']:,.{digits}f})"


def _trained(about: Mapping[str, Any], dataset: str) -> str:
    lines = []
    if about.get("frames"):
        lines.append(f"- frames: {about['frames']:,}")
    if dataset:
        lines.append(f"- data: [{dataset}](https://huggingface.co/datasets/{dataset})")
    if about.get("dataset"):
        lines.append(f"- fingerprint of the data: `{about['dataset']}`")
    if "finetuning" in about:
        lines += _finetuned(about["finetuning"])
    validated = "on the validation split"
    if "mantissa" in about:
        validated += f", before the weights were rounded to {about['mantissa']} bits of mantissa"
    for title, name in (("options", "options"), (validated, "validation")):
        values = {key: value for key, value in dict(about.get(name) or {}).items() if value is not None}
        if values:
            told = ", ".join(f"{key} {_shown(value)}" for key, value in to_plain(values).items())
            lines.append(f"- {title}: {told}")
    return "\n".join(lines) or "Nothing is told."


def _finetuned(about: Mapping[str, Any]) -> list[str]:
    how = [f"{about['frames']:,} frames of {about['env']}"]
    how += [f"recipe {about['recipe']}"] if about["recipe"] else []
    how += [f"begun with {about['began_with']}"] if about["began_with"] else []
    told = ", ".join(f"{name} {_shown(value)}" for name, value in about["options"].items())
    return [f"- fine-tuned by APPO: {', '.join(how)}", f"- options of that: {told}"]


def _shown(value: Any) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if type(value) is int else str(value)


def _acting(about: Mapping[str, Any]) -> str:
    return f"temperature {about.get('temperature', 1.0):g}, patience {about.get('patience', 0)}"
