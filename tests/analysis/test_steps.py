import itertools
from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from made_up_games import write_games

from strathack.analysis.steps import (
    LAST,
    NONE,
    TENTHS,
    UNLABELLED_NAME,
    before_death,
    check_labelled,
    counts_by,
    counts_by_game,
    durations_of,
    names_of,
    published_against_true,
    read_steps,
    shares_of,
    steps_of,
    transitions_of,
)
from strathack.dataset import Dataset
from strathack.dataset.arrays import StoredArray
from strathack.dataset.errors import CorruptionError, InputError
from strathack.dataset.labels import PUBLISHED_STRATEGIES

LENGTHS = [700, 40, 0, 9000]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("steps") / "data"
    write_games(folder, LENGTHS)
    return Dataset(folder)


@pytest.fixture(scope="module")
def games(dataset):
    return list(read_steps(dataset))


def pairs(dataset, of):
    """How often a strategy meets what ``of`` makes of a step, by a plain loop."""
    counted = Counter()
    for game in dataset:
        names, blstats, published = game.strategy.names(), game.obs["blstats"][:], game.hihack_strategy[:]
        for step, name in enumerate(names):
            counted[of(blstats[step], int(published[step]), game), str(name)] += 1
    return counted


def as_pairs(table):
    return Counter(
        {(row, column): int(count) for row, of_row in table.iterrows() for column, count in of_row.items() if count}
    )


def test_labels_are_those_stored(dataset, games):
    names = names_of(dataset)
    assert names[-1] == UNLABELLED_NAME
    for game, steps in zip(dataset, games, strict=True):
        assert [names[code] for code in steps.labels] == game.strategy.names().tolist()
        assert dict(zip(names, steps.counts.tolist(), strict=True))["fight"] == (game.strategy.names() == "fight").sum()


@pytest.mark.parametrize(("what", "place"), [("depth", 12), ("experience_level", 18)])
def test_steps_are_counted_by_what_the_bottom_line_says(dataset, games, what, place):
    assert as_pairs(counts_by(games, what)) == pairs(dataset, lambda line, published, game: int(line[place]))


def test_hit_points_are_counted_by_tenths(dataset, games):
    def tenth(line, published, game):
        return TENTHS[min(int(np.float32(min(line[10] / max(line[11], 1), 1)) * 10), 9)]

    assert as_pairs(counts_by(games, "hit_points")) == pairs(dataset, tenth)


def test_steps_are_counted_by_what_the_table_says(dataset, games):
    assert as_pairs(counts_by_game(games, "role")) == pairs(dataset, lambda line, published, game: game.info["role"])


def test_published_labels_are_held_against_those_that_ran(dataset, games):
    def label(line, published, game):
        return PUBLISHED_STRATEGIES[published] if published >= 0 else NONE

    table = published_against_true(games)
    assert as_pairs(table.T) == pairs(dataset, label)


def test_transitions_and_durations_are_those_of_a_plain_loop(dataset, games):
    followed, lasted = Counter(), {}
    for game in dataset:
        runs = []
        for name in game.strategy.names():
            if runs and runs[-1][0] == name:
                runs[-1][1] += 1
            else:
                runs.append([str(name), 1])
        followed.update((a[0], b[0]) for a, b in itertools.pairwise(runs))
        for name, steps in runs:
            lasted.setdefault(name, []).append(steps)
    assert as_pairs(transitions_of(games)) == followed
    assert {name: steps.tolist() for name, steps in durations_of(games).items()} == lasted


def test_what_precedes_a_death(dataset, games):
    counts, points = before_death(games)
    dying = [game for game in dataset if game.info["end"] == "death" and len(game)]
    assert len(dying) == 3
    for before in (0, 39, 40, LAST - 1):
        there = [game for game in dying if len(game) > before]
        names = Counter(str(game.strategy.names()[len(game) - 1 - before]) for game in there)
        assert {name: count for name, count in counts.loc[before].items() if count} == names
        shares = []
        for game in there:
            line = game.obs["blstats"][len(game) - 1 - before]
            shares.append(min(line[10] / max(line[11], 1), 1))
        assert points[before] == pytest.approx(np.median(shares))
    assert len(counts) == LAST


def test_games_without_frames_are_read_without_them_or_from_a_source(tmp_path, dataset):
    write_games(tmp_path / "keys", [700], keys=())
    game = Dataset(tmp_path / "keys")[0]
    alone = steps_of(game, names_of(dataset))
    assert not alone.by
    assert not len(alone.hit_points)
    assert counts_by([alone], "depth").empty

    class Stored:
        def open(self, game, names, start):
            return self

        def copy(self, start, stop, out):
            out["blstats"][:] = dataset["game_0"].obs["blstats"][start:stop]

        def close(self):
            self.closed = True

    source = Stored()
    brought_back = steps_of(game, names_of(dataset), source)
    assert source.closed
    assert (brought_back.by["depth"] == steps_of(dataset["game_0"], names_of(dataset)).by["depth"]).all()


def test_shares_of_each_row_add_up():
    shares = shares_of(pd.DataFrame({"fight": [1, 0], "explore": [3, 2]}))
    assert shares.to_numpy().tolist() == [[0.25, 0.75], [0.0, 1.0]]


def test_nothing_comes_of_nothing(tmp_path):
    write_games(tmp_path / "data", [0])
    games = list(read_steps(Dataset(tmp_path / "data")))
    assert counts_by(games, "depth").empty
    assert transitions_of(games).empty
    assert durations_of(games) == {}
    assert before_death(games)[0].empty


def test_a_dataset_without_labels_is_refused(tmp_path):
    write_games(tmp_path / "data", [30, 40], labelled=False)
    games = list(read_steps(Dataset(tmp_path / "data")))
    with pytest.raises(InputError, match="here: none of its 2 games has a strategy label"):
        check_labelled(games, "here")


def test_a_game_that_cannot_be_replayed_is_read_without_its_frames(tmp_path, dataset):
    write_games(tmp_path / "keys", [70], keys=())
    game = Dataset(tmp_path / "keys")[0]
    row = game.row.copy()
    row["core"] = -1

    class Never:
        def open(self, game, names, start):
            raise AssertionError

    assert steps_of(replace(game, row=row), names_of(dataset), Never()).by == {}


def test_a_label_that_is_none_is_refused(dataset, monkeypatch):
    game = dataset["game_1"]
    monkeypatch.setattr(StoredArray, "__getitem__", lambda self, index: np.full(len(self), 40, self.dtype))
    with pytest.raises(CorruptionError, match="game_1/strategy, step 0: 40 is no label"):
        steps_of(game, names_of(dataset))


def test_a_damaged_game_is_refused(tmp_path):
    write_games(tmp_path / "data", [3000])
    game = Dataset(tmp_path / "data")[0]
    offset, length = game.obs["blstats"].places[1]
    content = bytearray(game.path.read_bytes())
    content[int(offset + length // 2)] ^= 1
    game.path.write_bytes(bytes(content))
    with pytest.raises(CorruptionError, match="game_0/obs/blstats"):
        list(read_steps(Dataset(tmp_path / "data")))
