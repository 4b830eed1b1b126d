"""The fast bot plays only where the installed bot is the one that it was written against."""

import pytest

from strathack.collect.demonstrators import choose_demonstrator, gate, make_demonstrator

pytest.importorskip("nethackers")


def test_the_installed_bot_is_known():
    assert gate.difference() is None
    demonstrator = make_demonstrator("autoascend")
    assert (demonstrator.bot, demonstrator.notice) == ("fast", None)


def test_another_version_plays_as_installed(monkeypatch):
    monkeypatch.setattr(gate, "bot_version", lambda: "9.9")
    demonstrator = make_demonstrator("autoascend", "checked")
    assert demonstrator.bot == "installed"
    assert demonstrator.notice == (
        "autoascend plays as installed, which is slower: nethackers is 9.9, the fast bot was written against 0.37.3"
    )
    assert make_demonstrator("autoascend", "installed").notice is None


def test_a_command_tells_in_one_line_that_the_bot_plays_as_installed(monkeypatch, capsys):
    choose_demonstrator("autoascend")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(gate, "bot_version", lambda: "9.9")
    notice = choose_demonstrator("autoascend").notice
    assert capsys.readouterr().err == f"{notice}\n"


def test_a_changed_file_plays_as_installed(monkeypatch, tmp_path):
    folder = gate.find_bot()
    for name in gate.SOURCES:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((folder / name).read_bytes())
    monkeypatch.setattr(gate, "find_bot", lambda: tmp_path)
    assert gate.difference() is None
    with (tmp_path / "autoascend" / "level.py").open("a") as file:
        file.write("\n")
    assert gate.difference() == "autoascend/level.py of nethackers 0.37.3 is not as the fast bot knows it"
    (tmp_path / "autoascend" / "new.py").touch()
    assert gate.difference() == "autoascend/level.py and 1 more of nethackers 0.37.3 is not as the fast bot knows it"
