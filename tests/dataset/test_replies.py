"""The tables of what language models replied."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strathack.dataset.errors import FormatError
from strathack.dataset.folder import replies_path
from strathack.dataset.replies import Replied, encode_replies, read_replies

replied = st.builds(
    Replied,
    step=st.integers(0, 2**31 - 1),
    prompt=st.text(max_size=64),
    reply=st.text(st.characters(exclude_categories=["Cs"])),
    action=st.sampled_from(["", "north", "digit_2 digit_0"]),
    valid=st.booleans(),
    tokens_in=st.integers(0, 2**31 - 1),
    tokens_out=st.integers(0, 2**31 - 1),
    seconds=st.floats(0, 1e6, width=32),
    error=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)


@given(st.lists(replied, max_size=5))
def test_replies_come_back(tmp_path_factory: pytest.TempPathFactory, replies: list[Replied]) -> None:
    path = tmp_path_factory.mktemp("replies") / "one.parquet"
    path.write_bytes(encode_replies("game_7", 7, replies))
    assert read_replies(path) == replies
    table = pd.read_parquet(path)
    assert set(table["game"]) <= {"game_7"}
    assert table["reply"].tolist() == [one.reply for one in replies]


def test_where_there_are_none_there_are_none_and_others_are_refused(tmp_path: Path) -> None:
    path = replies_path(tmp_path, "game_7")
    assert read_replies(path) == []
    path.parent.mkdir()
    path.write_bytes(b"no table")
    with pytest.raises(FormatError, match="game_7.parquet: no table of replies"):
        read_replies(path)
