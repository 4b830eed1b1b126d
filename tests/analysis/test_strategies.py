import numpy as np
import pytest
from made_up_games import made_up, provenance
from matplotlib.image import imread

from strathack.analysis.options import StrategiesConfig
from strathack.analysis.strategies import COLOURS, GameLabels, draw, main, read_labels
from strathack.dataset.errors import InputError
from strathack.dataset.folder import DatasetFolder
from strathack.dataset.labels import STRATEGIES
from strathack.dataset.shard import encode_shard


def game(codes, role="Val", names=STRATEGIES):
    return GameLabels(f"{role} 1", role, 100, np.array(codes, dtype=np.uint8), dict(enumerate(names)))


@pytest.fixture
def data(tmp_path):
    folder = DatasetFolder(tmp_path / "data")
    folder.path.mkdir()
    folder.write_settings({})
    for seed, steps in [(10, 3000), (9, 40), (3, 0)]:
        folder.add_game(f"game_{seed}", encode_shard(made_up(seed, steps)[0], provenance()))
    return folder.path


def test_labels_are_read_in_order_of_seeds(data):
    games = list(read_labels(data))
    assert [game.title for game in games] == ["Val 3", "Val 9", "Val 10"]
    assert np.array_equal(games[1].codes, made_up(9, 40)[1]["strategy"])
    assert sum(games[2].counts().values()) == 3000


def test_a_column_shows_what_is_most_frequent_in_its_stretch():
    assert game([0, 0, 1, 1, 1, 0, 7, 7, 7]).columns(3) == ["explore", "fight", "init"]
    assert game([0, 1]).columns(100) == ["explore", "fight"]
    assert game([]).columns(10) == []


def test_every_strategy_has_a_colour_of_its_own():
    assert set(STRATEGIES) <= set(COLOURS)
    assert len(set(COLOURS.values())) == len(COLOURS)


def test_shares_of_a_role_add_up_and_other_names_are_drawn():
    figure = draw([game([0, 0, 0, 1]), game([2, 2], "Kni", ("a", "b", "dig"))], 40)
    bars = figure.axes[1].patches
    widths = {}
    for bar in bars:
        widths[round(bar.get_y())] = widths.get(round(bar.get_y()), 0) + bar.get_width()
    assert all(width == pytest.approx(1) for width in widths.values())
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["explore", "fight", "dig"]


def test_the_picture_is_written(data, tmp_path, capsys):
    out = tmp_path / "picture.png"
    assert main(StrategiesConfig(data, out)) == 0
    assert imread(out).shape[0] > 100
    assert "3 games drawn" in capsys.readouterr().out


def test_bad_requests_are_refused(data, tmp_path):
    with pytest.raises(InputError, match="max_games: 0 is below 1"):
        StrategiesConfig(data, max_games=0)
    with pytest.raises(InputError, match="has no ending that names a picture format"):
        StrategiesConfig(data, tmp_path / "picture")
    with pytest.raises(InputError, match="no such dataset"):
        main(StrategiesConfig(tmp_path / "nothing"))
    with pytest.raises(InputError, match="cannot be written"):
        main(StrategiesConfig(data, tmp_path / "no" / "picture.png"))
    with pytest.raises(InputError, match="cannot be written.*is not supported"):
        main(StrategiesConfig(data, tmp_path / "picture.xyz"))
