"""``strathack evaluate``: ``rl`` plays the games, and ``analysis`` sums them up."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import Any

from rich.console import Console

from strathack.analysis.normalising import normalised
from strathack.analysis.protocols import measures_of
from strathack.analysis.protocols import told as protocol_told
from strathack.analysis.scores import EVALUATION, SCORES, Summary, scores_of, summaries_by, summary_of
from strathack.analysis.tables import normalised_table, scores_table, summary_table
from strathack.collect.running.jobs import make_dataset
from strathack.collect.running.provenance import made_now
from strathack.dataset import Dataset
from strathack.dataset.codec import finite, to_plain
from strathack.dataset.errors import RunError
from strathack.dataset.files import atomic_write, check_writable
from strathack.rl.evaluating.evaluation import evaluating
from strathack.rl.language.replies import Costs
from strathack.rl.options import EvaluateConfig
from strathack.rl.protocols import PROTOCOLS


def evaluate(config: EvaluateConfig) -> int:
    """``strathack evaluate``: returns 0, 1 if a game could not be played, or over 128 after an interruption.

    Raises:
        InputError: If the request is bad; nothing on disk has changed then.
        RunError: If the evaluation had to stop; the games on disk are valid then.
    """
    check_writable(config.out)
    settings, work = evaluating(config)
    made = make_dataset(config.games_folder, settings, work, quiet=config.quiet)
    if made.signal:
        return made.exit_status()
    seeds = set(config.all_seeds)
    dataset = Dataset(config.games_folder) if made.folder.shards() else None
    games = (
        None if dataset is None else dataset.take(n for n, row in enumerate(dataset.rows) if int(row["core"]) in seeds)
    )
    if not games:
        why = next(iter(made.failures.values()), "")
        raise RunError(f"{config.games_folder}: of {len(seeds)} seeds none was played{why and f'; {why}'}")
    scores = scores_of(games)
    summary, by_role = summary_of(scores), summaries_by(scores, "role")
    costs = Costs.of(config.games_folder, games.names) if config.asks_a_model else None
    shares = normalised(scores)
    told = _told(config, made.folder.read_settings(), summary, by_role) | {
        "normalised": {name: asdict(figure) for name, figure in shares.items()}
    }
    if costs is not None:
        told["language"] = asdict(costs)
    # A protocol of which games are missing, or were cut for want of answers, is not kept.
    missing = len(seeds) - len(scores) + (0 if costs is None else len(costs.cut))
    kept = config.protocol if not missing else None
    measures = {} if kept is None else measures_of(kept, scores)
    if kept is not None:
        told |= {"protocol": kept, "measures": measures, "described": PROTOCOLS[kept].source}
    try:
        config.out.mkdir(parents=True, exist_ok=True)
        # Whatever kills this, there is never a summary beside the scores of other games.
        (config.out / EVALUATION).unlink(missing_ok=True)
        atomic_write(config.out / SCORES, scores.to_parquet(index=False))
        atomic_write(config.out / EVALUATION, json.dumps(finite(told), allow_nan=False).encode())
    except OSError as error:
        raise RunError(f"{error.filename or config.out}: {error.strerror or error}") from None
    console = Console()
    if costs is not None:
        print_costs(console, costs)
    console.print(summary_table(summary))
    console.print(scores_table(by_role))
    if shares:
        console.print(normalised_table(shares))
    if kept is not None:
        console.out(protocol_told(kept, measures), highlight=False)
        console.out(PROTOCOLS[kept].source, highlight=False)
    elif config.protocol is not None:
        told_games = f"{len(seeds) - missing} of {len(seeds)} games"
        console.out(f"protocol {config.protocol} is not kept: {told_games}", highlight=False)
    console.out(f"{summary.games} games; {SCORES}, {EVALUATION} in {config.out}", highlight=False)
    for name, reason in made.failures.items():
        console.out(f"not played: {name}: {reason}", highlight=False)
    return made.exit_status()


def print_costs(console: Console, costs: Costs) -> None:
    """Prints what a language model's replies cost, and which games were cut because there were none."""
    console.out(
        f"{costs.replies:,} replies, {costs.invalid:.1%} invalid; {costs.tokens_in:,} tokens in, {costs.tokens_out:,} "
        f"out; {costs.seconds:.2f} s a reply",
        highlight=False,
    )
    for name, reason in costs.cut.items():
        console.out(f"cut: {name}: {reason}", highlight=False)


def _told(config: EvaluateConfig, settings: Any, summary: Summary, by_role: dict[str, Summary]) -> dict[str, Any]:
    """Returns everything that is needed to repeat the evaluation, and its results."""
    return {
        "options": to_plain(config),
        "games": os.path.relpath(config.games_folder, config.out),
        "settings": settings,
        "seeds": str(config.all_seeds),
        **made_now(),
        "summary": summary.to_values(),
        "by_role": {role: part.to_values() for role, part in by_role.items()},
    }
