"""The measures of others' protocols, by hand."""

import numpy as np
import pandas as pd
import pytest

from strathack.analysis.protocols import REPORTS, measures_of, told
from strathack.rl.protocols import PROTOCOLS

SCORES = pd.DataFrame(
    {
        "score": [0.0, 100.0, 200.0, 1700.0], "progression": [0.0, 0.1, 0.2, 0.5], "max_depth": [1, 1, 2, 4],
        "role": ["Mon"] * 4, "race": ["Hum"] * 4, "alignment": ["Neu"] * 4,
    }
)  # fmt: skip


def test_balrog_divides_by_the_number_of_games() -> None:
    found = measures_of("balrog", SCORES)["progression"]
    assert found["mean"] == pytest.approx(0.2)
    # √((0.04 + 0.01 + 0 + 0.09) / 4) / √4
    assert found["standard_error"] == pytest.approx(np.sqrt(0.14 / 4) / 2)
    assert told("balrog", {"progression": found}) == "protocol balrog: progression: mean 0.2000, standard error 0.0935"


def test_hihack_divides_by_one_less() -> None:
    found = measures_of("hihack", SCORES)["score"]
    assert (found["mean"], found["median"]) == (500, 150)
    assert found["standard_error"] == pytest.approx(np.sqrt((500**2 + 400**2 + 300**2 + 1200**2) / 3) / 2)


def test_katakomba_divides_by_autoascend_s_mean_with_the_character() -> None:
    found = measures_of("katakomba", SCORES)
    assert found["normalised_score"]["mean"] == pytest.approx(500 / 17456.05)
    assert found["max_depth"] == {"mean": 2.0, "median": 1.5, "interquartile_mean": 1.5}
    unknown = measures_of("katakomba", SCORES.assign(role="Xyz"))
    assert set(unknown) == {"max_depth"}


def test_every_protocol_has_measures() -> None:
    assert set(REPORTS) == set(PROTOCOLS)
