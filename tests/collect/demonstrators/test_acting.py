"""Bots that are imported: each its own, also where a process has imported another before."""

from __future__ import annotations

from pathlib import Path

from strathack.collect.demonstrators.acting import _imported, _inside


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
