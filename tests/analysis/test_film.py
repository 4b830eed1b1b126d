import json
import shutil

import numpy as np
import pytest
from films import write_filmed_game
from made_up_games import write_games

from strathack.analysis.film import Film
from strathack.analysis.opening import game_named, games_at
from strathack.dataset import Dataset
from strathack.dataset.errors import CorruptionError, FormatError, InputError


@pytest.fixture
def filmed(tmp_path):
    return write_filmed_game(tmp_path / "data", 1300)


@pytest.mark.parametrize("order", ["forward", "backward", "jumping"])
def test_screens_are_those_stored_in_whatever_order_they_are_asked_for(filmed, order):
    game, screens = filmed
    film = Film(game)
    steps = {"forward": range(1300), "backward": range(1299, -1, -7), "jumping": [1299, 0, 600, 511, 512, 1024, 3]}
    for step in steps[order]:
        screen = film.screen(step)
        assert np.array_equal(screen.chars, screens["tty_chars"][step])
        assert np.array_equal(screen.colours, screens["tty_colors"][step])
        assert screen.cursor == tuple(screens["tty_cursor"][step])


def test_lines_are_text_that_can_be_printed(filmed):
    game, screens = filmed
    for step, screen in Film(game).screens(0, 40):
        for line, stored in zip(screen.lines, screens["tty_chars"][step], strict=True):
            assert len(line) == 80
            for shown, code in zip(line, stored, strict=True):
                assert shown == (chr(code) if chr(code).isprintable() else " ")


def test_changes_of_strategy_are_found_both_ways(filmed):
    film = Film(filmed[0])
    step, seen = 0, [0]
    while (step := film.change_after(step)) is not None:
        assert film.strategy[step] != film.strategy[step - 1]
        seen.append(step)
    assert seen == film.changes.tolist()
    step = len(film) - 1
    back = []
    while (step := film.change_before(step)) is not None:
        back.append(step)
    assert back[::-1] == seen


def test_a_message_is_found_where_it_appears(filmed):
    film = Film(filmed[0])
    assert film.find("YOU SEE STEP", 0) == 50
    assert film.find("step 1250.", 3) == 1250
    assert film.find("step 1250.", 1250) is None
    assert film.find("xyzzy", 0) is None


def test_labels_and_actions_have_their_names(filmed):
    game, _ = filmed
    film = Film(game)
    for step in (0, 77, 1299):
        assert film.strategy_at(step) == game.strategy.names(slice(step, step + 1))[0]
        assert film.action_at(step) == game.action_names(slice(step, step + 1))[0]
    assert film.substrategy_at(5) == ""
    assert film.title.startswith("game_0  ")


def test_a_damaged_game_is_refused_where_it_is_damaged(filmed):
    game, _ = filmed
    offset, length = game.obs["tty_chars"].places[1]
    with game.path.open("r+b") as file:
        file.seek(int(offset + length // 2))
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 4]))
    film = Film(Dataset(game.path)[0])
    film.screen(100)
    with pytest.raises(CorruptionError, match="game_0/obs/tty_chars"):
        film.screen(1200)


def test_games_are_found_by_name_and_by_seed(tmp_path):
    write_games(tmp_path / "data", [40, 50, 60])
    dataset = games_at(tmp_path / "data")
    assert game_named(dataset, "").name == "game_0"
    assert game_named(dataset, "2").name == game_named(dataset, "game_2").name == "game_2"
    with pytest.raises(InputError, match="game: 'game_7' is not among the 3 games; did you mean 'game_"):
        game_named(dataset, "game_7")


def test_an_evaluation_tells_where_its_games_are(tmp_path):
    write_games(tmp_path / "kept", [40])
    evaluation = tmp_path / "evaluation"
    evaluation.mkdir()
    (evaluation / "scores.parquet").touch()
    (evaluation / "evaluation.json").write_text(json.dumps({"games": "../kept"}))
    assert len(games_at(evaluation)) == 1
    (evaluation / "evaluation.json").write_text("{")
    with pytest.raises(FormatError, match="does not tell where its games are"):
        games_at(evaluation)


def test_what_cannot_be_shown_is_refused(tmp_path):
    write_games(tmp_path / "data", [0])
    with pytest.raises(InputError, match="game_0 has no steps; there is nothing to show"):
        Film(games_at(tmp_path / "data")[0])
    write_games(tmp_path / "other", [30])
    with pytest.raises(InputError, match="game_0 has no 'tty_chars'"):
        Film(games_at(tmp_path / "other")[0]).screen(0)
    shutil.rmtree(tmp_path / "other")
    with pytest.raises(InputError, match="does not exist"):
        games_at(tmp_path / "other")
