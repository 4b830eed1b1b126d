"""How games end, by player: what kills, and what keeps a policy from going on.

    python benchmarks/ends.py bot=data/autoascend-1k/games.parquet clone=evaluation/scores.parquet … --out ends.png

Each table has a row a game, with the columns ``end`` and ``cause`` that evaluations and datasets have.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

PETS = "little dog|dog|large dog|kitten|housecat|large cat|pony|horse|warhorse"
KINDS = {
    "cut: no progress": (r"^abort", ""),
    "bad food": (r"", r"rotted|corpse$|choked|poisonous|food poisoning|corpse, while"),
    "hunger": (r"", r"starv|lack of food|while fainted"),
    "vault guard": (r"", r"by a guard"),
    "own pet or weapon": (r"", rf"by an? (?:{PETS})$|himself|herself|kicking|hitting"),
    "helpless": (r"", r", while|sleeping|helpless"),
    "magic, traps, gods": (r"", r"wand|trap|spell|wrath|bolt|boulder|explosion|pit|petrif|drown|strangul|touch"),
    "a monster": (r"", r"by"),
}
"""What a game's end is called → patterns of ``end`` and of ``cause``; the first that fits counts."""


def kind_of(end: str, cause: str) -> str:
    """Returns what a game's end is called."""
    for kind, (ends, causes) in KINDS.items():
        if re.search(ends, end) and re.search(causes, cause):
            return kind
    return "other"


def shares(path: Path) -> pd.Series:
    """Returns the share of each kind of end in a table of games."""
    games = pd.read_parquet(path)
    kinds = [kind_of(str(end), str(cause)) for end, cause in zip(games["end"], games["cause"], strict=True)]
    return pd.Series(kinds).value_counts(normalize=True)


def draw(table: pd.DataFrame, out: Path) -> None:
    """Draws the shares as stacked bars, a bar a player."""
    figure, axes = plt.subplots(figsize=(9, 1.1 + 0.55 * len(table)), layout="constrained")
    left = pd.Series(0.0, index=table.index)
    colors = plt.get_cmap("tab10").colors
    for color, kind in zip(colors, table.columns, strict=False):
        axes.barh(table.index, table[kind], left=left, label=kind, color=color, height=0.7)
        for player, share in table[kind].items():
            if share >= 0.04:
                axes.text(left[player] + share / 2, player, f"{share:.0%}", ha="center", va="center", fontsize=8)
        left += table[kind]
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel="share of games")
    axes.legend(ncols=5, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(out, dpi=130)


def main() -> None:
    """Prints the table and draws it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("players", nargs="+", help="name=table.parquet")
    parser.add_argument("--out", type=Path, default=Path("ends.png"))
    arguments = parser.parse_args()
    named = dict(player.split("=", 1) for player in arguments.players)
    table = pd.DataFrame({name: shares(Path(path)) for name, path in named.items()}).T.fillna(0)
    table = table.reindex(columns=[*KINDS, "other"], fill_value=0)
    print(table.map("{:.1%}".format).to_string())
    draw(table, arguments.out)


if __name__ == "__main__":
    main()
