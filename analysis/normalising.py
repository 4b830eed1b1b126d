"""Scores as shares of what a demonstrator scores with the same character.

Characters differ: AutoAscend scores four times as much with a Valkyrie as with a Healer, so that means over characters
are mostly means of the strong ones.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from strathack.analysis.scores import Figure, figure_of

KATAKOMBA: Mapping[str, float] = {
    "arc-hum-neu": 6636.44,
    "bar-hum-neu": 17836.68,
    "cav-hum-neu": 12113.87,
    "hea-hum-neu": 4068.27,
    "kni-hum-law": 14137.06,
    "mon-hum-neu": 17456.05,
    "pri-hum-neu": 7732.69,
    "ran-hum-neu": 8067.99,
    "rog-hum-cha": 4818.2,
    "sam-hum-law": 11009.36,
    "tou-hum-neu": 4211.47,
    "val-hum-neu": 18624.77,
    "wiz-hum-neu": 5323.48,
    "pri-elf-cha": 7109.35,
    "ran-elf-cha": 9014.18,
    "wiz-elf-cha": 5005.16,
    "arc-dwa-law": 5445.69,
    "cav-dwa-law": 11893.48,
    "val-dwa-law": 23473.61,
    "arc-gno-neu": 5316.57,
    "cav-gno-neu": 10083.06,
    "hea-gno-neu": 3783.93,
    "ran-gno-neu": 6965.04,
    "wiz-gno-neu": 4317.51,
    "bar-orc-cha": 17594.38,
    "ran-orc-cha": 7608.48,
    "rog-orc-cha": 4897.69,
    "wiz-orc-cha": 5016.74,
    "arc-hum-law": 5826.35,
    "cav-hum-law": 12462.82,
    "mon-hum-law": 16091.57,
    "pri-hum-law": 6847.99,
    "val-hum-law": 26103.03,
    "bar-hum-cha": 18228.11,
    "mon-hum-cha": 18353.3,
    "pri-hum-cha": 8262.56,
    "ran-hum-cha": 8378.5,
    "wiz-hum-cha": 5316.82,
}
"""Role, race and alignment → mean score of AutoAscend's games in NLD-AA, by Katakomba (Kurenkov et al., 2023).

They were played with NLE 0.9, by which that benchmark's scores are normalised.
"""

AUTOASCEND_1K: Mapping[str, float] = {
    "Arc": 6114.1, "Bar": 18898.6, "Cav": 11529.7, "Hea": 4432.8, "Kni": 11086.9, "Mon": 15723.9, "Pri": 7061.5,
    "Ran": 7801.4, "Rog": 4940.2, "Sam": 14015.1, "Tou": 3479.6, "Val": 19167.0, "Wiz": 4679.3,
}  # fmt: skip
"""Role → mean score of the games in data/autoascend-1k, 60 to 89 of each role."""


def normalised(scores: pd.DataFrame, seed: int = 0) -> dict[str, Figure]:
    """Returns the scores divided by a demonstrator's mean with the same character: 1 is as good as AutoAscend.

    Args:
        scores: A table with a row a game, and the columns ``score``, ``role``, ``race`` and ``alignment``.
        seed: Decides what the bootstrap draws.

    Returns:
        ``autoascend-1k``, by role; and ``katakomba``, by role, race and alignment. Games of a character that a table
        does not have are left out; a table that has none of them is left out.
    """
    characters = scores[["role", "race", "alignment"]].astype(str).agg("-".join, axis=1).str.lower()
    divisors = {
        "autoascend-1k": scores["role"].astype(str).map(AUTOASCEND_1K),
        "katakomba": characters.map(KATAKOMBA),
    }
    values = {name: (scores["score"] / divisor).dropna().to_numpy(np.float64) for name, divisor in divisors.items()}
    return {name: figure_of(of_name, seed) for name, of_name in values.items() if len(of_name)}
