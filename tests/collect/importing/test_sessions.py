"""Importing the sessions of nao_top10."""

import json
import pickle
import sys

import numpy as np
import pytest
from looking import forbid_listing

from strathack.analysis.scores import scores_of
from strathack.collect.importing.sessions import SessionError, find_sessions, read_session
from strathack.dataset import Dataset
from strathack.dataset.actions import NO_ACTION
from strathack.dataset.errors import InputError
from strathack.dataset.schema import UNKNOWN_SCORE

HERE = ("--workers", 0, "--quiet")
STAMP = 1_400_000_000


def arrays(steps, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "tty_chars": rng.integers(32, 127, (steps, 24, 80), dtype=np.uint8),
        "tty_colors": rng.integers(0, 16, (steps, 24, 80), dtype=np.int8),
        "tty_background": np.zeros((steps, 24, 80), dtype=np.int8),
        "tty_cursor": np.stack([rng.integers(0, 24, steps), rng.integers(0, 80, steps)], 1),
    }


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "nao_top10"
    for place, (player, session, steps) in enumerate([("stth", "aGk=", 1500), ("stth", "b_-8", 20), ("Fek", "c0", 3)]):
        (root / player).mkdir(parents=True, exist_ok=True)
        np.savez_compressed(root / player / f"{session}.npz", **arrays(steps, place))
    known = {
        "aGk=": {"role": "Valkyrie", "alignment": "lawful", "stamp": np.int64(STAMP), "max_level_number": 7,
                 "max_exp_level": 9.0, "username": "stth"},
        "b_-8": {"role": None, "stamp": None, "max_level_number": -5},
    }  # fmt: skip
    (root / "metadata.pkl").write_bytes(pickle.dumps(known))
    return root


def test_sessions_become_games_with_what_is_known_of_them(run_here, folder, tmp_path):
    ended = run_here("dataset", "import", folder, tmp_path / "data", *HERE)
    assert ended.status == 0, ended.err
    assert "3 of 3 games imported, 1,523 steps" in ended.out
    data = Dataset(tmp_path / "data")
    game = max(data, key=len)
    for key, values in arrays(1500).items():
        if key != "tty_background":
            assert np.array_equal(game.obs[key][:], values.astype(np.uint8))
    assert (game.actions[:] == NO_ACTION).all()
    info = game.info
    assert (info["role"], info["alignment"], info["max_depth"], info["experience_level"]) == ("Val", "Law", 7, 9)
    assert (info["start_time"], info["clock"], info["origin"]) == (STAMP, "2014-05-13T16:53:20", "screens")
    assert sorted(game.attributes["source"].split("/")[0] for game in data) == ["Player0", "Player1", "Player1"]
    assert not any("stth" in game.attributes["metadata"] for game in data)
    others = {len(game): game.info for game in data}
    assert (others[20]["role"], others[20]["start_time"], others[20]["max_depth"]) == ("", -1, 0)
    assert run_here("dataset", "verify", tmp_path / "data", "--quiet").status == 0
    # Their scores are not told, which is not 0.
    assert {game.info["score"] for game in data} == {UNKNOWN_SCORE}
    facts = json.loads(run_here("dataset", "info", tmp_path / "data", "--json").out)
    assert {of_role["mean_score"] for of_role in facts["by_role"].values()} == {None}
    assert run_here("report", tmp_path / "data", "--out", tmp_path / "report.html", "--quiet").status == 0
    assert np.isnan(scores_of(data)["score"]).all()


class Evil:
    def __reduce__(self):
        return sys.exit, (7,)


def test_a_pickle_that_would_run_code_is_not_loaded(run_here, folder, tmp_path):
    (folder / "metadata.pkl").write_bytes(pickle.dumps({"aGk=": Evil()}))
    ended = run_here("dataset", "import", folder, tmp_path / "data", *HERE)
    assert ended.status == 0
    assert "left out: metadata.pkl: is no dictionary of plain values (it names sys.exit)" in ended.out
    assert "3 of 3 games imported" in ended.out
    (folder / "metadata.pkl").write_bytes(pickle.dumps([1]))
    assert find_sessions(folder).left_out == ("metadata.pkl: is no dictionary",)


def save(path, **changes):
    values = {**arrays(4), **changes}
    np.savez(path, **{name: value for name, value in values.items() if value is not None})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"tty_cursor": None}, "it holds no tty_cursor"),
        ({"tty_chars": np.zeros((4, 24, 79), np.uint8)}, "its tty_chars are uint8 [4, 24, 79]; expected integers"),
        ({"tty_colors": np.zeros((4, 24, 80))}, "its tty_colors are float64 [4, 24, 80]; expected integers"),
        ({"tty_cursor": np.zeros((3, 2), int)}, "it has 3 tty_cursor for 4 tty_chars"),
        ({"tty_cursor": np.full((4, 2), -1)}, "its tty_cursor go from -1 to -1; expected 0 to 255"),
        ({"tty_chars": np.array([Evil()], dtype=object)}, "no archive of arrays (Object arrays cannot be loaded"),
        (arrays(0), "it has no frames"),
    ],
)
def test_archives_of_something_else_are_listed_with_the_reason(run_here, folder, tmp_path, changes, reason):
    save(folder / "Fek" / "c0.npz", **changes)
    ended = run_here("dataset", "import", folder, tmp_path / "data", *HERE)
    assert ended.status == 1
    assert f"not imported: Player0/c0.npz: {reason}" in ended.out
    assert "2 of 3 games imported" in ended.out


def test_a_file_that_is_no_archive_or_is_cut(run_here, folder, tmp_path):
    whole = (folder / "stth" / "b_-8.npz").read_bytes()
    (folder / "stth" / "b_-8.npz").write_bytes(whole[: len(whole) // 2])
    (folder / "Fek" / "c0.npz").write_bytes(b"hello")
    ended = run_here("dataset", "import", folder, tmp_path / "data", *HERE)
    assert ended.status == 1
    assert "not imported: Player1/b_-8.npz: no archive of arrays, or not whole" in ended.out
    assert "not imported: Player0/c0.npz: no archive of arrays, or not whole" in ended.out
    assert "1 of 3 games imported" in ended.out


def test_a_folder_without_sessions_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"holds no sessions; expected <player>/<session>.npz"):
        find_sessions(tmp_path)


def test_values_of_any_integer_type_are_read(tmp_path):
    save(tmp_path / "x.npz", tty_chars=np.full((4, 24, 80), 200, np.int32))
    assert read_session((tmp_path / "x.npz").read_bytes())["tty_chars"].dtype == np.uint8


def test_an_import_goes_on_with_the_same_names_and_players_alone(run_here, folder, tmp_path):
    assert run_here("dataset", "import", folder, tmp_path / "data", *HERE).status == 0
    assert run_here("dataset", "import", folder, tmp_path / "data", *HERE).status == 0
    ended = run_here("dataset", "import", folder, tmp_path / "data", "--real-names", *HERE)
    assert ended.status == 2
    assert "real_names is False there and True here" in ended.error
    (folder / "Aaron").mkdir()
    save(folder / "Aaron" / "d0.npz")
    ended = run_here("dataset", "import", folder, tmp_path / "data", *HERE)
    assert ended.status == 2, "Player0 would be another"
    assert ended.error.endswith("data: holds games of other players, whose pseudonyms would be others here")
    assert len(Dataset(tmp_path / "data")) == 3
    older = json.loads((tmp_path / "data" / "dataset.json").read_text())
    del older["settings"]["real_names"], older["settings"]["players_sha256"]
    (tmp_path / "data" / "dataset.json").write_text(json.dumps(older))
    ended = run_here("dataset", "import", folder, tmp_path / "data", "--real-names", *HERE)
    assert (ended.status, "real_names is None there and True here" in ended.error) == (2, True)
    assert run_here("dataset", "import", folder, tmp_path / "named", "--real-names", *HERE).status == 0
    save(folder / "Aaron" / "d1.npz")
    ended = run_here("dataset", "import", folder, tmp_path / "named", "--real-names", *HERE)
    assert (ended.status, "5 of 5 games imported" in ended.out) == (0, True)


def test_what_failed_before_and_is_no_longer_there_is_not_told_of(run_here, folder, tmp_path):
    (folder / "Fek" / "c0.npz").write_bytes(b"hello")
    assert run_here("dataset", "import", folder, tmp_path / "data", "--real-names", *HERE).status == 1
    (folder / "Fek" / "c0.npz").unlink()
    (folder / "stth" / "b_-8.npz").unlink()
    ended = run_here("dataset", "import", folder, tmp_path / "data", "--real-names", *HERE)
    assert (ended.status, ended.out) == (0, f"1 of 1 games imported, 1,500 steps, in {tmp_path / 'data'}\n")
    assert len(Dataset(tmp_path / "data")) == 2, "what was imported stays"


def test_archives_beside_ttyrecs_are_of_no_layout(run_here, tmp_path):
    (tmp_path / "src" / "2").mkdir(parents=True)
    save(tmp_path / "src" / "2" / "features.npz")
    (tmp_path / "src" / "2" / "nle.1.0.ttyrec4.bz2").touch()
    ended = run_here("dataset", "import", tmp_path / "src", tmp_path / "data", *HERE)
    assert ended.status == 2
    assert "has archives of sessions and ttyrecs, such as 2/nle.1.0.ttyrec4.bz2; say which to import" in ended.error
    ended = run_here("dataset", "import", tmp_path / "src", tmp_path / "data", "--layout", "nao_top10", *HERE)
    assert "1 of 1 games imported" in ended.out


def test_archives_elsewhere_are_left_out_and_folders_that_may_not_be_read_are_listed(folder, monkeypatch):
    (folder / "Fek" / "more").mkdir()
    save(folder / "Fek" / "more" / "e0.npz")
    forbid_listing(monkeypatch, folder / "stth")
    found = find_sessions(folder)
    assert [session.path.name for session in found.games] == ["c0.npz"]
    assert found.left_out == ("Fek/more/e0.npz: is not in a player's folder; expected <player>/e0.npz",)
    assert found.closed == ("stth: cannot be read (Permission denied)",)


def test_numbers_of_the_metadata_stay_numbers(run_here, folder, tmp_path):
    run_here("dataset", "import", folder, tmp_path / "data", *HERE)
    game = max(Dataset(tmp_path / "data"), key=len)
    assert json.loads(game.attributes["metadata"])["stamp"] == STAMP


def test_an_array_that_is_named_as_an_archive(tmp_path):
    with (tmp_path / "x.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(SessionError, match="no archive of arrays, or not whole"):
        read_session((tmp_path / "x.npz").read_bytes())


def test_links_to_archives_are_archives_of_their_own(folder, tmp_path):
    (folder / ".git" / "annex").mkdir(parents=True)
    (folder / "stth" / "aGk=.npz").rename(folder / ".git" / "annex" / "object.npz")
    (folder / "stth" / "aGk=.npz").symlink_to("../.git/annex/object.npz")
    (folder / "Fek" / "copy.npz").hardlink_to(folder / "Fek" / "c0.npz")
    found = find_sessions(folder)
    assert sorted(session.path.name for session in found.games) == ["aGk=.npz", "b_-8.npz", "c0.npz", "copy.npz"]
    assert found.left_out == ()
