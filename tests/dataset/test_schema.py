import re
from pathlib import Path

import numpy as np
import pytest

from strathack.dataset.errors import InputError
from strathack.dataset.schema import (
    CHUNK_BYTES,
    COMPLETENESS,
    DUNGEONS,
    ENDS,
    GAME_DTYPE,
    OBSERVATIONS,
    ORIGINS,
    ObservationKeys,
    make_row,
    row_values,
)

VALUES = {
    "game": "game_7", "core": 7, "disp": 7, "lgen": -1, "clock": "seed", "start_time": 1698062400, "character": "@",
    "role": "Val", "race": "Hum", "gender": "Fem", "alignment": "Neu", "steps": 10, "turns": 9, "score": 37,
    "max_depth": 3, "deepest_dungeon": "Gnomish Mines", "experience_level": 2, "progression": 0.25, "end": "death",
    "cause": "killed by a jackal", "completeness": "complete", "origin": "played",
    "keys_sha256": "a" * 64, "frames_sha256": "b" * 64, "seconds": 1.5,
}  # fmt: skip


def test_a_row_gives_back_what_it_was_made_of():
    assert row_values(make_row(VALUES)[()]) == VALUES


def test_a_row_refuses_missing_and_unknown_columns():
    with pytest.raises(ValueError, match=r"missing \['score'\], unknown \['points'\]"):
        make_row({"points" if key == "score" else key: value for key, value in VALUES.items()})


def test_text_is_cut_between_characters():
    row = make_row({**VALUES, "cause": "é" * 100})
    assert row_values(row[()])["cause"] == "é" * 64


def test_observation_keys_are_checked_and_ordered():
    assert ObservationKeys.parse("message, glyphs") == ("glyphs", "message")
    assert ObservationKeys.parse("all") == tuple(OBSERVATIONS)
    with pytest.raises(InputError, match="unknown key 'tty_char'; did you mean 'tty_chars'"):
        ObservationKeys.parse("tty_char")
    with pytest.raises(InputError, match="unknown key 'zzz'; expected one of glyphs, "):
        ObservationKeys.parse("zzz")
    with pytest.raises(InputError, match="none given"):
        ObservationKeys.parse(" ")


def test_chunks_hold_a_power_of_two_steps_and_at_most_two_mebibytes():
    for spec in OBSERVATIONS.values():
        assert spec.chunk_steps & (spec.chunk_steps - 1) == 0
        assert spec.chunk_steps * spec.frame_bytes <= CHUNK_BYTES


def test_observations_are_those_of_the_simulator():
    nethack = pytest.importorskip("nle.nethack")
    for key, spec in OBSERVATIONS.items():
        theirs = nethack.OBSERVATION_DESC[key]
        assert spec.shape == tuple(theirs["shape"])
        if key not in ("blstats", "tty_colors"):
            assert spec.dtype == np.dtype(theirs["dtype"])


def test_the_document_of_the_format_names_everything():
    text = (Path(__file__).parents[2] / "docs" / "format.md").read_text()
    names = set(re.findall(r"`([^`\n]+)`", text))
    missing = [n for n in (*(GAME_DTYPE.names or ()), *OBSERVATIONS, *ENDS, *ORIGINS, *COMPLETENESS) if n not in names]
    assert not missing
    assert all(name in text for name in DUNGEONS)
