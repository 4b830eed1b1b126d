import numpy as np
import pytest
from made_up_games import write_games
from matplotlib.image import imread

from strathack.analysis.commands import strategies
from strathack.analysis.film import Film
from strathack.analysis.options import StrategiesConfig
from strathack.analysis.palette import COLOURS, colour_of, in_order
from strathack.analysis.steps import read_steps
from strathack.dataset import Dataset
from strathack.dataset.copying import shard_with_inferred
from strathack.dataset.errors import InputError
from strathack.dataset.labels import STRATEGIES, UNLABELLED
from strathack.dataset.shard import InferredLabels


@pytest.fixture
def data(tmp_path):
    write_games(tmp_path / "data", [3000, 40, 0])
    return tmp_path / "data"


def test_every_strategy_has_a_colour_of_its_own():
    assert set(STRATEGIES) <= set(COLOURS)
    assert len(set(COLOURS.values())) == len(COLOURS)
    assert colour_of("dig") not in COLOURS.values()


def test_names_are_ordered_by_ordinal_and_then_as_they_come():
    assert in_order(["recover", "b", "fight", "a"]) == ["fight", "recover", "b", "a"]


def test_the_picture_is_written(data, tmp_path, capsys):
    out = tmp_path / "picture.png"
    assert strategies(StrategiesConfig(data=data, out=out)) == 0
    assert imread(out).shape[0] > 100
    assert "3 games drawn" in capsys.readouterr().out


def test_bad_requests_are_refused(data, tmp_path):
    with pytest.raises(InputError, match="max_games: 0 is below 1"):
        StrategiesConfig(data=data, max_games=0)
    with pytest.raises(InputError, match="has no ending that names a picture format"):
        StrategiesConfig(data=data, out=tmp_path / "picture")
    with pytest.raises(InputError, match="does not exist"):
        strategies(StrategiesConfig(tmp_path / "nothing"))
    with pytest.raises(InputError, match="cannot be written"):
        strategies(StrategiesConfig(data, tmp_path / "no" / "picture.png"))
    with pytest.raises(InputError, match="cannot be written.*is not supported"):
        strategies(StrategiesConfig(data, tmp_path / "picture.xyz"))


def test_a_dataset_without_labels_is_refused(tmp_path):
    write_games(tmp_path / "data", [30, 40], labelled=False)
    with pytest.raises(InputError, match="none of its 2 games has a strategy label; its player announced none"):
        strategies(StrategiesConfig(tmp_path / "data", tmp_path / "picture.png"))


def test_inferred_labels_are_drawn_where_they_are_asked_for(data, tmp_path, run_here):
    ended = run_here("analysis", "strategies", data, "--label", "strategy_inferred", "--out", tmp_path / "picture.png")
    assert ended.status == 2
    assert ended.error.endswith("game_0 has no 'strategy_inferred'; strathack label apply writes it")
    (tmp_path / "labelled").mkdir()
    for game in Dataset(data):
        codes = {"unlabelled": UNLABELLED, "fight": 0, "explore": 1}
        labels = InferredLabels(np.arange(len(game)).astype("u1") % 2, np.ones(len(game), "<f2"), codes)
        (tmp_path / "labelled" / f"{game.name}.h5").write_bytes(shard_with_inferred(game, {"strategy": labels}))
    labelled = Dataset(tmp_path / "labelled")
    for game in read_steps(labelled, label="strategy_inferred"):
        names = np.array(game.names)[game.labels]
        assert names[:4].tolist() == ["fight", "explore", "fight", "explore"][: game.info["steps"]]
    film = Film(labelled[0], label="strategy_inferred")
    assert [film.strategy_at(step) for step in range(3)] == ["fight", "explore", "fight"]
    ended = run_here(
        "analysis", "strategies", tmp_path / "labelled", "--label", "strategy_inferred", "--out",
        tmp_path / "picture.png",
    )  # fmt: skip
    assert ended.status == 0, ended.err
    ended = run_here(
        "report", tmp_path / "labelled", "--label", "strategy_inferred", "-o", tmp_path / "page.html", "--quiet"
    )
    assert ended.status == 0, ended.err
