import base64
import gzip
import json

import numpy as np
import pytest
from films import write_filmed_game, write_replies_to

from strathack.analysis.film import Film, printable
from strathack.analysis.report.films import _planes, pack_rows, packed


def unpacked(text):
    """What the page's script makes of it."""
    content = gzip.decompress(base64.b64decode(text))
    length = int.from_bytes(content[:4], "little")
    header, at = json.loads(content[4 : 4 + length]), 4 + length
    arrays = {}
    for name, size in header["arrays"]:
        arrays[name] = np.frombuffer(content, np.uint8, size, at)
        at += size
    assert at == len(content)
    for name in ("ids", "strategyLengths", "substrategyLengths"):
        planes = arrays[name].reshape(3, -1).astype(np.int64)
        arrays[name] = planes[0] + 256 * planes[1] + 65536 * planes[2]
    return header, arrays


@pytest.mark.parametrize("steps", [1, 700])
def test_every_screen_and_label_comes_back(tmp_path, steps):
    game, screens = write_filmed_game(tmp_path / "data", steps)
    film = Film(game)
    header, arrays = unpacked(packed(film))
    assert (header["steps"], header["title"]) == (steps, film.title)
    chars, colours = arrays["chars"].reshape(-1, 80), arrays["colours"].reshape(-1, 80)
    assert len(np.unique(np.concatenate([chars, colours], 1), axis=0)) == len(chars)
    state, change = np.zeros(24, np.int64), 0
    for step in range(steps):
        for _ in range(arrays["counts"][step]):
            state[arrays["places"][change]] = arrays["ids"][change]
            change += 1
        stored = printable(screens["tty_chars"][step])
        assert np.array_equal(chars[state], stored)
        assert np.array_equal(colours[state][stored != 32], screens["tty_colors"][step][stored != 32])
    assert change == len(arrays["ids"])
    assert np.array_equal(arrays["cursors"].reshape(2, -1).T, screens["tty_cursor"])
    labels = np.repeat(arrays["strategy"], arrays["strategyLengths"])
    assert [header["strategies"][str(code)] for code in labels] == game.strategy.names().tolist()
    assert [header["actionNames"][code] for code in arrays["actions"]] == game.action_names().tolist()


def test_rows_that_come_back_are_held_once(tmp_path):
    game, _ = write_filmed_game(tmp_path / "data", 3)
    film = Film(game)
    film.screens = lambda start, stop: iter([(n, Film(game).screen(n % 2)) for n in range(100)] if not start else [])
    film.__class__ = type("Repeating", (Film,), {"__len__": lambda self: 100})
    rows = pack_rows(film)
    assert len(rows.rows) <= 1 + 2 * 24
    assert rows.counts[2:].sum() == len(rows.ids) - rows.counts[:2].sum()


def test_numbers_too_large_for_their_bytes_are_refused():
    with pytest.raises(ValueError, match="70000 does not fit into 2 bytes"):
        _planes(np.array([3, 70000]), 2)


def test_a_language_models_replies_are_packed_from_their_ends(tmp_path):
    game = write_filmed_game(tmp_path / "data", 20)[0]
    assert unpacked(packed(Film(game)))[0]["replies"] == {}
    write_replies_to(game, {0: "search", 5: "x" * 2000 + "kick"})
    replies = unpacked(packed(Film(game)))[0]["replies"]
    assert replies == {"0": "search", "5": "x" * 996 + "kick"}
