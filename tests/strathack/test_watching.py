"""The commands that show games, on real games: stored ones, and keys that are replayed."""

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from strathack.cli import main
from strathack.commands import watch as watching
from strathack.dataset import Dataset

BOT = Path(__file__).parents[1] / "bots" / "wanderer"


@pytest.fixture(scope="module")
def games(tmp_path_factory):
    """The same games twice: with their frames, and as keys alone."""
    folder = tmp_path_factory.mktemp("games")
    words = ["--demonstrator", str(BOT), "--seeds", "3,4", "--max-steps", "300", "--workers", "0"]
    for command in (["collect", "full", *words], ["dataset", "compact", "full", "keys", "--quiet"]):
        subprocess.run([sys.executable, "-m", "strathack", *command], cwd=folder, check=True, capture_output=True)
    return folder


def test_keys_alone_show_the_same_screens_and_make_the_same_page(games, tmp_path, capsys, nothing_left):
    for kind in ("full", "keys"):
        assert main(["export-cast", str(games / kind), "--game", "4", "--out", str(tmp_path / f"{kind}.cast")]) == 0
        assert re.match(r"300 of 300 steps of game_4, [\d,]+ bytes, in .*\.cast\n", capsys.readouterr().out)
        out = tmp_path / f"{kind}.html"
        assert main(["report", str(games / kind), "-o", str(out), "--replay", "--title", "same", "--quiet"]) == 0
        assert "2 games, 2 to be watched" in capsys.readouterr().out
    casts = [(tmp_path / f"{kind}.cast").read_text() for kind in ("full", "keys")]
    assert casts[0] == casts[1]
    pages = [(tmp_path / f"{kind}.html").read_text() for kind in ("full", "keys")]
    card = re.compile(r'<section id="card">.*?</section>', re.DOTALL)
    assert card.sub("", pages[0]) == card.sub("", pages[1])


def test_a_video_of_a_replayed_game(games, tmp_path, capsys):
    words = ["--game", "3", "--stop", "5", "--size", "8", "--out", str(tmp_path / "a.gif"), "--quiet"]
    assert main(["export-video", str(games / "keys"), *words]) == 0
    assert "5 of 300 steps of game_3" in capsys.readouterr().out


def test_it_is_watched_in_a_real_terminal(games, nothing_left):
    driver, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
    command = [sys.executable, "-m", "strathack", "watch", str(games / "keys"), "--game", "4"]
    process = subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, env=environment)
    os.close(terminal)
    seen = b""
    deadline = time.monotonic() + 60
    while b"substrategy" not in seen and time.monotonic() < deadline:
        seen += os.read(driver, 65536)
    assert b"game_4" in seen
    os.write(driver, b"q")
    while process.poll() is None and time.monotonic() < deadline:
        try:
            os.read(driver, 65536)
        except OSError:  # the terminal is shut
            break
    assert process.wait(30) == 0
    os.close(driver)


def refused(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    assert ended.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def test_bad_requests_are_one_line(games, tmp_path, capsys):
    full = games / "full"
    line = refused(capsys, "watch", full)
    assert line == "strathack: error: watch: needs a terminal; export-cast and export-video write a file instead"
    assert "game: '5' is not among the 2 games" in refused(capsys, "export-cast", full, "--game", 5)
    line = refused(capsys, "report", full, "--select", "score > 1e9")
    assert line.endswith("full: no game meets the condition 'score > 1e9'; nothing to report")
    assert "game: '9' is not among the 2 games" in refused(capsys, "report", full, "--watch", 9)
    nowhere = tmp_path / "no" / "report.html"
    assert "report.html cannot be written" in refused(capsys, "report", full, "-o", nowhere, "--playable", 0, "--quiet")
    assert "playable: -1 is below 0" in refused(capsys, "report", full, "--playable=-1")


def test_a_policy_plays_the_game_of_a_seed(tmp_path, capsys):
    assert "game: 'mine' is no seed" in refused(capsys, "export-cast", "symbols-inventory-1k", "--game", "mine")
    far = str(10**19)
    assert f"{far} is over NLE's largest seed" in refused(capsys, "export-cast", "symbols-inventory-1k", "--game", far)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_policy_s_game_that_is_interrupted_is_told_as_an_interruption(tmp_path, monkeypatch, capsys, number):
    interrupted = SimpleNamespace(signal=number, games=[], failures={})
    monkeypatch.setattr(watching, "make_dataset", lambda *_: interrupted)
    words = ["export-cast", "symbols-inventory-1k", "--game", "7", "--out", str(tmp_path / "a.cast")]
    assert main(words) == 128 + number
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.slow
def test_a_game_of_a_policy_is_played_and_shown(tmp_path, capsys):
    # A game that this policy loses early.
    words = ["--game", "200015", "--out", str(tmp_path / "a.cast")]
    assert main(["export-cast", "symbols-inventory-1k", *words]) == 0
    assert re.search(r"([\d,]+) of \1 steps of game_200015, [\d,]+ bytes", capsys.readouterr().out)
    header, *events = (tmp_path / "a.cast").read_text().splitlines()
    assert json.loads(header)["version"] == 2
    assert len(events) > 100


def test_an_extra_that_is_not_installed_is_named(games, capsys, monkeypatch):
    for name in ("strathack.commands.export_video", "strathack.analysis.video"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "av", None)
    line = refused(capsys, "export-video", games / "full")
    assert line == "strathack: error: av is not installed; pip install 'strathack[export]'"


def test_a_damaged_game_is_listed_and_left_out(games, tmp_path, capsys):
    data = tmp_path / "damaged"
    shutil.copytree(games / "full", data)
    shard = next(data.glob("*.h5"))
    offset, length = Dataset(shard)["game_3"].arrays["strategy"].places[0]
    content = bytearray(shard.read_bytes())
    content[int(offset + length // 2)] ^= 16
    shard.write_bytes(bytes(content))
    (data / "game_77.h5").write_bytes(b"not a shard")
    assert main(["report", str(data), "-o", str(tmp_path / "report.html"), "--quiet"]) == 1
    told = capsys.readouterr()
    assert told.err == ""
    lines = told.out.splitlines()
    assert lines[0].startswith("1 game, 1 to be watched")
    assert len(lines) == 3
    page = (tmp_path / "report.html").read_text()
    for line, name in zip(lines[1:], ("game_77.h5", "game_3/strategy"), strict=True):
        assert name in line
        assert name in page
    values = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])
    assert [game[0] for game in values["games"]] == ["game_4"]
