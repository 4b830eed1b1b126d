"""Exports of games as text: which chunks, what is in them, and what happens to an export that is cut off."""

import io
import json
import os
import signal
import time
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_games import made_up, provenance
from pyarrow import parquet

from strathack import cli
from strathack.analysis.film import SCREEN
from strathack.collect.running.results import Refused
from strathack.commands.text_worker import TextJob, TextWorker
from strathack.dataset import Dataset
from strathack.dataset.errors import InputError
from strathack.dataset.files import folder_lock
from strathack.dataset.shard import encode_shard
from strathack.dataset.streams import unrolls
from strathack.text import describe
from strathack.text.chunks import Labels, Recipe, plan
from strathack.text.exporting import ExportFolder, encode_rows
from strathack.text.history import applied

DATA = Path(__file__).parents[2] / "data" / "autoascend-1k"
SHORT = "core in (1363, 1341, 1999)"  # 173, 196 and 348 steps
KEYS = ["glyphs", "blstats", "tty_chars", "tty_colors", "tty_cursor", "inv_strs", "inv_letters"]


def rows_of(folder):
    files = sorted((folder / "data").iterdir())
    return [row for file in files for row in parquet.read_table(file).to_pylist()]


class Games:
    """Stands for a dataset whose games have some lengths."""

    def __init__(self, lengths):
        self.names = [f"game_{number}" for number in range(len(lengths))]
        self.rows = {"steps": np.array(lengths)}


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.integers(1, 12), st.integers(1, 60), st.integers(0, 9))
def test_chunks_are_drawn_from_all_starts_and_none_twice(lengths, steps, chunks, seed):
    planned = plan(Games(lengths), steps, chunks, seed)
    possible = [range(max(length - steps - 1, 0)) for length in lengths]
    assert planned.possible == sum(map(len, possible))
    assert planned.chunks == min(chunks, planned.possible)
    for name, starts in planned.starts.items():
        assert len(set(starts)) == len(starts)
        assert set(starts) <= set(possible[int(name.removeprefix("game_"))])
    assert {f"game_{number}" for number, starts in enumerate(possible) if not starts} == set(planned.too_short)
    assert planned == plan(Games(lengths), steps, chunks, seed)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.integers(1, 12))
def test_chunks_side_by_side_tell_every_step_but_a_rest_once(lengths, steps):
    planned = plan(Games(lengths), steps, None, 0)
    for number, length in enumerate(lengths):
        starts = planned.starts.get(f"game_{number}", ())
        assert [step for start in starts for step in range(start, start + steps)] == list(
            range(length // steps * steps)
        )


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Three short games, replayed by a Ray worker; chunks of 16 steps side by side, strategies as tokens."""
    out = tmp_path_factory.mktemp("text") / "export"
    words = ["--chunks", "all", "--steps", "16", "--strategies", "tokens", "--workers", "1", "--quiet"]
    assert cli.main(["text", "export", str(DATA), str(out), "--select", SHORT, *words]) == 0
    return out


def test_every_chunk_applied_diff_by_diff_ends_at_the_games_own_observation(exported):
    games = Dataset(DATA).select(SHORT)
    rows = rows_of(exported)
    assert len(rows) == 173 // 16 + 196 // 16 + 348 // 16
    for number, name in enumerate(games.names):
        stream = unrolls(games.take([number]), lanes=1, steps=352, observations=KEYS, epochs=1)
        batch = next(iter(stream))
        stream.close()
        game = games[name]
        for row in (row for row in rows if row["game"] == name):
            last = row["start"] + row["steps"] - 1
            text = row["prompt"].split("\n\n", 1)[1].removesuffix("\n\n")
            for part in row["completion"].split("<|observation|>\n")[1:]:
                text = applied(text, part.split("\n<|strategy|>")[0].split("\n<|action|>")[0])
            assert text == describe({key: batch[key][last, 0] for key in KEYS}).text
            steps = slice(row["start"], last + 1)
            assert row["actions"] == game.action_names(steps).tolist()
            assert row["strategies"] == game.strategy.names(steps).tolist()
            changes = 1 + sum(one != other for one, other in pairwise(row["strategies"]))
            assert row["completion"].count("<|strategy|>") == changes


def test_files_are_named_by_split_and_tell_what_they_are(exported):
    games = Dataset(DATA).select(SHORT)
    splits = {name: set(games.select(split=name).names) for name in ("train", "validation", "test")}
    for file in (exported / "data").iterdir():
        assert {row["game"] for row in parquet.read_table(file).to_pylist()} <= splits[file.name.split("-")[0]]
        assert file.name.endswith("-00000-of-00001.parquet")
    card = (exported / "README.md").read_text()
    assert f"\n{len(rows_of(exported))} chunks of 16 steps from 3 games" in card
    assert f"export --select '{SHORT}' --chunks all --steps 16 --strategies tokens\n" in card
    assert not (exported / "parts").exists()


def test_the_package_datasets_loads_it(exported, tmp_path):
    datasets = pytest.importorskip("datasets")
    loaded = datasets.load_dataset(str(exported), cache_dir=str(tmp_path))
    rows = [row for split in loaded.values() for row in split]
    assert {row["game"]: row["role"] for row in rows} == {row["game"]: row["role"] for row in rows_of(exported)}
    assert len(rows) == len(rows_of(exported))


def test_an_export_that_is_killed_goes_on_and_is_the_same(exported, tmp_path, start, run):
    words = ["text", "export", DATA, tmp_path / "again", "--select", SHORT, "--chunks", "all", "--steps", "16"]
    words += ["--strategies", "tokens", "--workers", "0", "--quiet"]
    process = start(*words)
    parts = tmp_path / "again" / "parts"
    deadline = time.monotonic() + 120
    while not list(parts.glob("*.parquet")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert run(*words).status == 0
    assert rows_of(tmp_path / "again") == rows_of(exported)
    finished = run(*words)
    assert "is finished: " in finished.out


def test_turns_and_lines_of_json_are_other_forms_of_the_same(exported, tmp_path, run):
    words = ["--chunks", "all", "--steps", "16", "--strategies", "tokens", "--workers", "0", "--quiet"]
    words += ["--layout", "messages", "--to", "jsonl", "--rows-per-file", "5"]
    ended = run("text", "export", DATA, tmp_path / "lines", "--select", SHORT, *words)
    assert ended.status == 0, ended.err
    files = sorted((tmp_path / "lines" / "data").iterdir())
    rows = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert all(len(file.read_text().splitlines()) <= 5 for file in files)
    assert [row["start"] for row in rows] == [row["start"] for row in rows_of(exported)]
    for row, other in zip(rows, rows_of(exported), strict=True):
        acted = [turn["content"] for turn in row["messages"] if turn["role"] == "assistant"]
        assert len(acted) == 16
        assert all(action in other["completion"] for action in acted)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--steps", "0"], "steps: 0 is below 1"),
        (["--chunks", "some"], "chunks: 'some' is no number above 0; expected one, or all"),
        (["--steps", "400"], "no game has 400 steps for a chunk"),
        (["--dialect", "fare"], "dialect"),
        (["--workers", "-1"], "workers: -1 is below 0"),
        (["--workers", "0", "--address", "auto"], "workers: 0 plays in this process, without Ray"),
        (["--retries", "-1"], "retries: -1 is below 0"),
        (["--select", "core == 5"], "no game meets the condition; nothing to export"),
    ],
)
def test_what_cannot_be_exported_is_refused(capsys, tmp_path, words, said):
    words = words if "--select" in words else ["--select", SHORT, *words]
    with pytest.raises(SystemExit, match="2"):
        cli.main(["text", "export", str(DATA), str(tmp_path / "out"), *words])
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_steps_are_printed_as_a_model_sees_them(capsys):
    assert cli.main(["text", "show", str(DATA), "--game", "1363", "--step", "20", "--steps", "3"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("You are an agent playing NetHack.")
    assert printed.count("<|action|>") == 3
    assert printed.count("<|observation|>") == 2
    with pytest.raises(SystemExit, match="2"):
        cli.main(["text", "show", str(DATA), "--game", "1363", "--step", "172", "--steps", "2"])
    assert "step: game_1363 has 173 steps; 172 to 173 are not among them" in capsys.readouterr().err


def test_a_folder_that_holds_something_else_is_refused(tmp_path):
    folder = ExportFolder(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty, and holds no export"):
        folder.begin({"steps": 16})
    (tmp_path / "notes.txt").unlink()
    (tmp_path / ".tmp-12-export.json").write_text("what a killed writer left")
    assert not folder.begin({"steps": 16})
    with pytest.raises(InputError, match="holds an export of other settings: steps is 16 there and 64 here"):
        folder.begin({"steps": 64})


def test_two_exports_do_not_write_into_one_folder(capsys, tmp_path):
    (tmp_path / "out").mkdir()
    with folder_lock(tmp_path / "out"), pytest.raises(SystemExit, match="2"):
        cli.main(["text", "export", str(DATA), str(tmp_path / "out"), "--select", SHORT])
    assert "out: another process is writing to it" in capsys.readouterr().err


def test_an_export_that_cannot_be_written_is_one_line(capsys, tmp_path, monkeypatch):
    (tmp_path / "afile").touch()
    words = ["text", "export", str(DATA), str(tmp_path / "afile"), "--select", SHORT]
    with pytest.raises(SystemExit, match="2"):
        cli.main(words)
    assert "afile: is a file; expected a folder" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        cli.main(["text", "train", str(tmp_path), str(tmp_path / "afile")])
    assert "afile: is a file; expected a folder" in capsys.readouterr().err

    def full(self, settings):
        raise OSError(28, "No space left on device", "export.json")

    monkeypatch.setattr(ExportFolder, "_write", full)
    with pytest.raises(SystemExit, match="1"):
        cli.main([*words[:3], str(tmp_path / "out"), *words[4:]])
    assert "export.json: cannot be written (No space left on device); the same command" in capsys.readouterr().err


def test_a_dataset_that_shows_too_little_is_refused(capsys, tmp_path):
    """A game of which only the screens are known can be neither described nor replayed."""
    data, _ = made_up(0, 100, SCREEN)
    data.row["core"] = -1
    (tmp_path / "screens.h5").write_bytes(encode_shard(data, provenance(observations=SCREEN)))
    with pytest.raises(SystemExit, match="2"):
        cli.main(["text", "export", str(tmp_path / "screens.h5"), str(tmp_path / "out")])
    said = capsys.readouterr().err
    assert "texts need glyphs, blstats, inv_strs, inv_letters, which are not stored, and game_0 cannot be" in said
    assert "dataset expand --observations all or dataset relabel bring them" in said


def test_a_game_whose_stored_frames_are_damaged_is_refused_by_itself(tmp_path):
    """So that the others are exported, and the export ends."""
    data, _ = made_up(0, 100, KEYS)
    path = tmp_path / "games.h5"
    path.write_bytes(encode_shard(data, provenance(observations=KEYS)))
    game = Dataset(path)[0]
    with h5py.File(path) as file:
        chunk = file[f"data/{game.name}/obs/glyphs"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset + chunk.size // 2] ^= 16
    path.write_bytes(content)
    worker = TextWorker(Recipe("fair", "diff", 16))
    found = worker.work(TextJob(Labels.of(game), (3,), None, path), lambda steps: None)
    worker.close()
    assert isinstance(found, Refused)
    assert "obs/glyphs" in found.reason


def test_rows_of_no_chunk_make_an_empty_file():
    assert parquet.read_table(io.BytesIO(encode_rows([], "completion"))).num_rows == 0


def test_records_of_balrog_are_read_by_the_keys_that_it_reads(run, tmp_path):
    words = ["--to", "balrog", "--chunks", "all", "--steps", 40, "--workers", 0, "--quiet", "--dialect", "wrapper"]
    assert run("text", "export", DATA, tmp_path / "out", "--select", "core == 1363", *words).status == 0
    (game,) = Dataset(DATA).select("core == 1363")
    paths = sorted((tmp_path / "out" / "records" / "nle" / "NetHackChallenge-v0").rglob("*.npz"))
    assert len(paths) == len(game) // 40
    names = game.action_names().tolist()
    for path in paths:
        assert [part for part in path.stem.split("-") if "seed" in part] == ["seed1363"]
        with np.load(path, allow_pickle=True) as data:
            episode = {key: data[key] for key in data.files}
        taken, rewards, terminated, truncated = (
            episode.pop(key) for key in ("action", "reward", "terminated", "truncated")
        )
        assert len(taken) == 40
        assert np.any([terminated, truncated], axis=0).tolist() == [False] * 39 + [True]
        observations = [dict(zip(episode, values, strict=True)) for values in zip(*episode.values(), strict=True)]
        for observation in observations:
            long = observation["text"]["long_term_context"]
            assert long.startswith("message:\n")
            assert "\nlanguage observation:\n" in long
            assert "\nmap:\n" in long
            assert observation["text"]["short_term_context"].startswith("inventory:\n")
            assert observation["image"] is None
        assert str(taken[0]) == ""
        start = int(path.stem.rpartition("start")[2])
        expected = [name.removeprefix("digit_").replace("_", " ") for name in names[start : start + 39]]
        assert taken[1:].tolist() == expected
        assert f"rew{rewards.sum():.2f}-len39-" in path.name
    assert "demonstration as BALROG reads them" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--history", "full"], "history: records of BALROG have one form"),
        (["--strategies", "tokens"], "strategies: records of BALROG have one form"),
        (["--steps", "1"], "steps: 1; expected 2 to 1000"),
        (["--steps", "1001"], "steps: 1001; expected 2 to 1000"),
    ],
)
def test_records_of_balrog_have_one_form(words, message, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["text", "export", str(DATA), str(tmp_path / "out"), "--to", "balrog", *words])
    assert message in capsys.readouterr().err
