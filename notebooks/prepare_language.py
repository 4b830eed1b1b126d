"""Makes data/language.csv of the notebook language_models: what models pay for what players say, by strategy.

    python notebooks/prepare_language.py NAME=MODEL=EXPORT... [--context 1024]

MODEL is what ``strathack text train EXPORT MODEL`` made. Its losses are those on the export's other games.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from transformers import AutoModelForCausalLM

from strathack.text.exporting import ExportFolder
from strathack.text.measuring import losses_by_strategy
from strathack.text.tokens import load_tokenizer
from strathack.text.training import rows_of

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", metavar="NAME=MODEL=EXPORT")
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--out", type=Path, default=HERE / "data" / "language.csv")
    options = parser.parse_args()
    lines = []
    for named in options.models:
        name, model, export = named.split("=")
        rows = [row for split in ("validation", "test") for row in rows_of(Path(export), split)]
        found = losses_by_strategy(
            AutoModelForCausalLM.from_pretrained(model), load_tokenizer(Path(model)), rows,
            ExportFolder(Path(export)).settings()["strategies"], options.context,
        )  # fmt: skip
        lines += [(name, strategy, part, *values) for (strategy, part), values in sorted(found.items())]
    table = pd.DataFrame(lines, columns=["model", "strategy", "part", "steps", "tokens", "nats"])
    table.to_csv(options.out, index=False, float_format="%.4f")


if __name__ == "__main__":
    main()
