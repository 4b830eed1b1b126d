import json

import pyte
import pytest
from films import write_filmed_game

from strathack.analysis.casting import write_cast
from strathack.analysis.film import Film
from strathack.analysis.options import ExportCastConfig
from strathack.dataset.errors import InputError

COLOURS = ("black", "red", "green", "brown", "blue", "magenta", "cyan", "white")


def shown_by_a_terminal(lines):
    """Each screen that a terminal emulator, not ours, shows of a recording."""
    header = json.loads(lines[0])
    terminal = pyte.Screen(header["width"], header["height"])
    stream = pyte.Stream(terminal)
    for line in lines[1:]:
        time, kind, text = json.loads(line)
        assert kind == "o"
        stream.feed(text)
        yield time, terminal


@pytest.mark.parametrize("start", [0, 35])
def test_a_terminal_shows_the_games_screens(tmp_path, start):
    game, _ = write_filmed_game(tmp_path / "data", 50)
    film = Film(game)
    out = tmp_path / "game.cast"
    assert write_cast(film, out, start=start, stop=None, speed=4, caption=True) == 50 - start
    lines = out.read_text().splitlines()
    header = json.loads(lines[0])
    assert (header["version"], header["width"], header["height"]) == (2, 80, 26)
    seen = 0
    for number, (time, terminal) in enumerate(shown_by_a_terminal(lines)):
        step = start + number
        if step == len(film):
            assert time == pytest.approx(number / 4 + 1)
            break
        screen = film.screen(step)
        assert time == pytest.approx(number / 4)
        assert terminal.display[:24] == screen.lines
        for row in range(24):
            for column in range(80):
                if screen.lines[row][column] != " ":
                    colour = int(screen.colours[row, column])
                    expected = COLOURS[colour] if colour < 8 else f"bright{COLOURS[colour - 8]}"
                    assert terminal.buffer[row][column].fg == expected
        assert (terminal.cursor.y, terminal.cursor.x) == screen.cursor
        assert terminal.display[24].strip() == f"▌{film.strategy_at(step)}"
        assert terminal.display[25].strip() == f"step {step} · {film.action_at(step)}"
        seen += 1
    assert seen == 50 - start


def test_without_a_caption_the_recording_is_the_screen_alone(tmp_path):
    game, _ = write_filmed_game(tmp_path / "data", 20)
    out = tmp_path / "game.cast"
    assert write_cast(Film(game), out, start=5, stop=8, speed=1, caption=False) == 3
    lines = out.read_text().splitlines()
    assert json.loads(lines[0])["height"] == 24
    assert len(lines) == 1 + 3 + 1


def test_bad_requests_are_refused(tmp_path):
    game, _ = write_filmed_game(tmp_path / "data", 20)
    with pytest.raises(InputError, match="start: 20 is beyond the end of game_0, which has 20 steps"):
        write_cast(Film(game), tmp_path / "a.cast", start=20, stop=None, speed=1, caption=True)
    with pytest.raises(InputError, match="a.cast cannot be written"):
        write_cast(Film(game), tmp_path / "no" / "a.cast", start=0, stop=None, speed=1, caption=True)
    with pytest.raises(InputError, match="stop: 5 is not above start, 5"):
        ExportCastConfig(tmp_path, start=5, stop=5)
    with pytest.raises(InputError, match="start: -1 is below 0"):
        ExportCastConfig(tmp_path, start=-1)
    with pytest.raises(InputError, match="speed: 0 is not above 0"):
        ExportCastConfig(tmp_path, speed=0)
