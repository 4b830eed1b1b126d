"""Bots that are imported: each its own, also where a process has imported another before."""

from __future__ import annotations

from pathlib import Path

import pytest

from strathack.collect.demonstrators import absolute_reference
from strathack.collect.demonstrators.acting import _imported, _inside, load_callable
from strathack.dataset.errors import InputError


def test_two_bots_of_one_process_are_not_mixed(tmp_path: Path) -> None:
    made = []
    for name in ("one", "two", "two", "one"):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "bot.py").write_text("from mind import thought\n\n\ndef make_agent():\n    return thought\n")
        (folder / "mind.py").write_text(f"thought = [{name!r}]\n")
        with _inside(folder):
            made.append(_imported(folder).make_agent())
    assert [thought for (thought,) in made] == ["one", "two", "two", "one"]
    assert made[1] is made[2], "a bot is imported once"


@pytest.mark.parametrize("content", ["def policy(:\n", "raise SystemError('no game today')\n"])
def test_a_module_that_cannot_be_imported_is_refused_whatever_it_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    (tmp_path / "broken_bot.py").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"demonstrator: cannot import 'broken_bot' of 'broken_bot:policy' \(.+\)"):
        load_callable("broken_bot:policy")
    with pytest.raises(InputError, match=r"demonstrator: cannot import '' of ':policy'"):
        load_callable(":policy")


def test_a_bots_folder_is_the_same_from_another_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bots" / "mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert absolute_reference("bots/mine") == str(tmp_path / "bots" / "mine")
    assert [absolute_reference(name) for name in ("autoascend", "a.module:policy")] == ["autoascend", "a.module:policy"]
