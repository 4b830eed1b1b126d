"""A published folder: what others' tools read of it, what its card says, and what happens to one that is cut off."""

import json
import re
import subprocess
import sys
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401
import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from made_up_games import write_games
from pyarrow import parquet

from strathack.cli import main
from strathack.dataset import Dataset
from strathack.dataset.actions import ACTION_NAMES
from strathack.dataset.errors import FormatError
from strathack.dataset.labels import STRATEGIES
from strathack.dataset.manifest import MANIFEST, differing, is_inside, parse_manifest, write_manifest
from strathack.dataset.publishing import publish as publishing
from strathack.dataset.publishing.card import COLUMNS, size_category
from strathack.dataset.publishing.croissant import license_address
from strathack.dataset.publishing.layout import parts_of
from strathack.dataset.publishing.statistics import Statistics
from strathack.dataset.schema import STORED_COLUMNS

THOUSAND = Path(__file__).parents[3] / "data" / "autoascend-1k"
EIGHT = "core in (1363, 1341, 1999, 1404, 1439, 1732, 1304, 1642)"
SCREENS = ("tty_chars", "tty_colors", "tty_cursor", "blstats")
LENGTHS = [30, 5, 1100, 64, 12, 400]


def published(*words):
    return main(["dataset", "publish", *map(str, words), "--quiet"])


@pytest.fixture(scope="module")
def eight(tmp_path_factory):
    """Eight real games, of which the keys are kept, with the screens in the table of steps."""
    out = tmp_path_factory.mktemp("published") / "eight"
    assert published(THOUSAND, out, "--select", EIGHT, "--screens", "--name", "Eight games") == 0
    return out


@pytest.fixture(scope="module")
def expanded(eight, tmp_path_factory):
    """The same games with their frames, replayed in a process of its own, which holds the clock."""
    out = tmp_path_factory.mktemp("expanded") / "full"
    words = ["dataset", "expand", eight, out, "--workers", "0", "--quiet"]
    subprocess.run([sys.executable, "-m", "strathack", *map(str, words)], check=True)
    return out


def head_of(card):
    return yaml.safe_load(re.match(r"---\n(.*?)\n---\n", card, re.DOTALL)[1])


def test_it_is_a_dataset_and_every_file_has_its_checksum(eight):
    dataset, original = Dataset(eight), Dataset(THOUSAND).select(EIGHT)
    assert {game.name for game in dataset} == {game.name for game in original}
    for game in original:
        assert np.array_equal(dataset[game.name].strategy[:], game.strategy[:])
        assert dataset[game.name].info == game.info
    checked = subprocess.run(["sha256sum", "--check", "--quiet", MANIFEST], cwd=eight, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    listed = parse_manifest((eight / MANIFEST).read_text(), "here")
    there = {str(path.relative_to(eight)) for path in eight.rglob("*") if path.is_file()}
    assert set(listed) == there - {MANIFEST}


def test_the_package_datasets_reads_both_tables(eight, tmp_path):
    datasets = pytest.importorskip("datasets")
    games = datasets.load_dataset(str(eight), "games", cache_dir=str(tmp_path))
    assert sum(len(split) for split in games.values()) == 8
    steps = datasets.load_dataset(str(eight), "steps", cache_dir=str(tmp_path))
    dataset = Dataset(eight)
    assert sum(len(split) for split in steps.values()) == dataset.steps
    first = steps["train"][0]
    game = dataset[first["game"]]
    assert (first["step"], first["actions"], first["strategy"]) == (
        0, ACTION_NAMES[game.actions[0]], game.strategy.names(0),
    )  # fmt: skip
    assert [len(line) for line in first["screen"]] == [80] * 24
    streamed = datasets.load_dataset(str(eight), "steps", split="validation", streaming=True)
    assert next(iter(streamed))["screen"][23].startswith("Dlvl:1 ")


def test_screens_and_rewards_are_those_of_the_replay(eight, expanded):
    table = pd.concat(pd.read_parquet(path) for path in sorted((eight / "steps").glob("*.parquet")))
    for game in Dataset(expanded):
        own = table[table["game"] == game.name]
        lines = np.array([[line.encode("latin-1") for line in screen] for screen in own["screen"]])
        assert np.array_equal(lines.view("u1").reshape(-1, 24, 80), game.obs["tty_chars"][:])
        assert np.array_equal(own["rewards"].to_numpy(np.float32), game.rewards[:])


def test_duckdb_and_plain_h5py_read_it(eight):
    duckdb = pytest.importorskip("duckdb")
    counted = dict(duckdb.sql(f"SELECT strategy, count(*) FROM '{eight}/steps/*.parquet' GROUP BY strategy").fetchall())
    dataset = Dataset(eight)
    named = np.concatenate([game.strategy.names() for game in dataset])
    assert counted == {name: int((named == name).sum()) for name in np.unique(named)}
    names = []
    for path in eight.glob("shard-*.h5"):
        with h5py.File(path) as file:
            names += list(file["data"])
            assert len(file[f"data/{names[-1]}/strategy"][:]) == len(dataset[names[-1]])
    assert sorted(names) == sorted(dataset.names)


def test_croissant_is_valid_and_gives_the_records(eight, tmp_path):
    croissant = pytest.importorskip("mlcroissant")
    words = [Path(sys.executable).with_name("mlcroissant"), "validate", "--jsonld", "croissant.json"]
    checked = subprocess.run(words, cwd=eight, capture_output=True, text=True)
    said = checked.stdout + checked.stderr
    assert checked.returncode == 0, said
    assert "WARNING" not in said.upper(), said
    description = json.loads((eight / "croissant.json").read_text())
    files = {one["@id"]: one for one in description["distribution"] if one["@type"] == "cr:FileObject"}
    sums = parse_manifest((eight / MANIFEST).read_text(), "here")
    assert {name: one["sha256"] for name, one in files.items() if name != "folder"} == {
        name: digest for name, digest in sums.items() if name.endswith((".h5", ".parquet"))
    }
    described = croissant.Dataset(jsonld=eight / "croissant.json", mapping={"folder": eight})
    records = list(described.records("games-train"))
    train = Dataset(eight).select(split="train")
    assert sorted(record["games-train/core"] for record in records) == sorted(train.rows["core"].tolist())
    steps = next(iter(described.records("steps-train")))
    assert len(steps["steps-train/screen"]) == 24


def test_minari_reads_games_with_their_frames(eight, expanded, tmp_path, monkeypatch):
    minari = pytest.importorskip("minari")
    place = tmp_path / "nethack"
    place.mkdir()
    about = ["--author", "A. Person", "--author-email", "a@example.org", "--code-permalink", "https://example.org/x"]
    words = ["dataset", "export", expanded, place / "eight-v0", "--to", "minari", "--namespace", "nethack", *about]
    assert main([*map(str, words), "--quiet"]) == 0
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    assert set(minari.list_local_datasets()) == {"nethack/eight-v0"}
    loaded = minari.load_dataset("nethack/eight-v0")
    assert loaded.total_steps == Dataset(eight).steps
    (sampled,) = loaded.sample_episodes(1)
    assert sampled.observations["tty_chars"].shape == (len(sampled) + 1, 24, 80)
    stored = loaded.storage.metadata
    assert (stored["author"], stored["author_email"]) == ({"A. Person"}, {"a@example.org"})
    assert stored["code_permalink"] == "https://example.org/x"
    assert stored["requirements"] == ["nle==1.3.0"]
    environment = loaded.recover_environment()
    assert environment.action_space == loaded.action_space
    seen, _ = environment.reset()
    assert set(seen) == set(Dataset(expanded).observations)
    environment.close()


def test_the_card_s_head_and_body_are_the_dataset_s(eight):
    card, dataset = (eight / "README.md").read_text(), Dataset(eight)
    head = head_of(card)
    assert head["pretty_name"] == "Eight games"
    assert head["license"] == "mit"
    assert head["size_categories"] == ["1K<n<10K"]
    splits = {config["config_name"]: {one["split"] for one in config["data_files"]} for config in head["configs"]}
    assert splits == {"games": {"train", "validation"}, "steps": {"train", "validation"}}
    for config in head["configs"]:
        for files in config["data_files"]:
            assert list(eight.glob(files["path"])), files
    assert f"8 games of NetHack, {dataset.steps:,} steps" in card
    for table in Statistics(dataset).tables():
        assert table in card
    assert "/tmp/" not in card, "the makers' folders are nobody else's business"
    for name in parquet.read_schema(next((eight / "steps").iterdir())).names:
        assert f"| `{name}` | {COLUMNS[name]} |" in card


def test_every_stored_column_is_described():
    assert set(STORED_COLUMNS) <= set(COLUMNS)


@given(st.integers(0, 10**14))
def test_each_size_has_a_category_of_the_hub(rows):
    units = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
    category = size_category(rows)

    def number(text):
        return int(text[:-1]) * units[text[-1]]

    least, most = (part for part in re.fullmatch(r"(?:(\w+)<)?n(?:[<>](\w+))?", category).groups())
    if ">" in category:
        assert rows >= number(most)
    else:
        assert (number(least) if least else 0) <= rows < number(most)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=30), st.integers(1, 80))
def test_files_of_steps_hold_each_game_once_and_are_not_too_long(lengths, most):
    class Games:
        splits = np.array(["train"] * len(lengths))
        rows = {"steps": np.array(lengths)}  # noqa: RUF012

    parts = parts_of(Games, "train", most)
    assert [game for part in parts for game in part.games] == list(range(len(lengths)))
    for part in parts:
        assert len(part.games) == 1 or sum(lengths[game] for game in part.games) <= most


def test_what_was_cut_off_goes_on(tmp_path, monkeypatch):
    write_games(tmp_path / "data", LENGTHS, games_per_shard=2, keys=SCREENS)
    out = tmp_path / "out"

    def fails(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(publishing, "_write_games", fails)
        with pytest.raises(SystemExit) as ended:
            published(tmp_path / "data", out, "--observations")
    assert ended.value.code == 1
    assert not (out / MANIFEST).exists(), "what has checksums is whole"
    shards = {path: path.stat().st_ino for path in out.glob("*.h5")}
    assert shards
    assert published(tmp_path / "data", out, "--observations") == 0
    assert {path: path.stat().st_ino for path in out.glob("*.h5")} == shards, "what is there is kept"
    assert Dataset(out).observations == SCREENS_STORED
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert published(tmp_path / "data", out, "--observations") == 0
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_tables_hold_each_game_once_however_many_are_in_a_shard(tmp_path, monkeypatch):
    """Shards of one game each are in order of their names, those of several in order of seeds."""
    write_games(tmp_path / "data", [30] * 12, keys=SCREENS)
    monkeypatch.setattr(publishing, "STEPS_PER_FILE", 120)
    written = publishing._write_once

    def fails(path, write):
        if path.name.startswith("train-00001"):
            raise OSError(28, "No space left on device")
        written(path, write)

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(publishing, "_write_once", fails)
        with pytest.raises(SystemExit):
            published(tmp_path / "data", out, "--observations", "--games-per-shard", "1")
    assert published(tmp_path / "data", out, "--observations") == 0
    parts = sorted(out.glob("steps/train-*.parquet"))
    assert len(parts) > 1
    games = [game for part in parts for game in pd.read_parquet(part)["game"].unique()]
    assert sorted(games) == sorted(Dataset(out).select(split="train").names)


SCREENS_STORED = ("blstats", "tty_chars", "tty_colors", "tty_cursor")


def test_a_folder_made_of_other_labels_is_refused(tmp_path, capfd):
    for name in ("one", "two"):
        write_games(tmp_path / name, [30, 40], keys=SCREENS, labelled=name == "one")
    out = tmp_path / "out"
    assert published(tmp_path / "one", out, "--observations") == 0
    with pytest.raises(SystemExit) as ended:
        published(tmp_path / "two", out, "--observations")
    assert ended.value.code == 2
    assert "holds games of other settings" in capfd.readouterr().err
    assert published(tmp_path / "two", tmp_path / "unlabelled", "--observations") == 0
    card = (tmp_path / "unlabelled" / "README.md").read_text()
    assert ", without strategies." in card
    assert "No step has one." in card


def test_a_published_folder_is_not_split_anew_since_its_tables_tell_its_split(tmp_path, capfd):
    write_games(tmp_path / "data", [30, 40, 50], keys=SCREENS)
    out = tmp_path / "out"
    assert published(tmp_path / "data", out, "--observations") == 0
    words = ["dataset", "split", out, "--train", "1", "--validation", "0", "--test", "0", "--quiet"]
    with pytest.raises(SystemExit) as ended:
        main(list(map(str, words)))
    assert ended.value.code == 2
    assert "out: is published, and its tables and checksums tell of the games" in capfd.readouterr().err
    assert differing(out, parse_manifest((out / MANIFEST).read_text(), MANIFEST)) == []


def test_a_folder_that_was_split_anew_between_two_tries_is_refused(tmp_path, capfd):
    write_games(tmp_path / "data", [30, 40, 50], keys=SCREENS)
    out = tmp_path / "out"
    assert published(tmp_path / "data", out, "--observations") == 0
    (out / MANIFEST).unlink()  # as after a cut
    assert main(f"dataset split {out} --train 0 --validation 0.5 --test 0.5 --quiet".split()) == 0
    with pytest.raises(SystemExit) as ended:
        published(tmp_path / "data", out, "--observations")
    assert ended.value.code == 2
    assert "publish into another folder" in capfd.readouterr().err
    assert not (out / MANIFEST).exists()


def test_a_folder_is_split_as_the_dataset_that_it_is_made_of(tmp_path):
    write_games(tmp_path / "data", [30, 40, 50], keys=SCREENS)
    words = ["dataset", "split", tmp_path / "data", "--train", "0", "--validation", "0.5", "--test", "0.5", "--quiet"]
    assert main(list(map(str, words))) == 0
    assert published(tmp_path / "data", tmp_path / "out", "--observations") == 0
    there, made = Dataset(tmp_path / "data"), Dataset(tmp_path / "out")
    assert made.fractions == there.fractions
    assert made.games["split"].tolist() == there.games["split"].tolist()
    assert "train" not in made.games["split"].tolist()


def test_stored_screens_go_into_the_table_without_a_replay(tmp_path):
    arrays = write_games(tmp_path / "data", LENGTHS, keys=SCREENS)
    assert published(tmp_path / "data", tmp_path / "out", "--observations", "--screens") == 0
    table = pd.concat(map(pd.read_parquet, sorted((tmp_path / "out" / "steps").glob("*.parquet"))))
    own = table[table["game"] == "game_3"]
    lines = b"".join(line.encode("latin-1") for screen in own["screen"] for line in screen)
    assert len(own) == LENGTHS[3]
    assert lines == arrays["game_3"]["obs/tty_chars"].tobytes().replace(b"\0", b" ")
    assert list(own["strategy"]) == [STRATEGIES[code] for code in arrays["game_3"]["strategy"]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--author", "me"), "author: is for minari, and the format is parquet"),
        (("--to", "minari", "--namespace", "nethack"), "namespace: out-v0 is in no folder nethack"),
    ],
)
def test_what_minari_alone_takes_is_refused(tmp_path, capfd, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["dataset", "export", "data", "out-v0", *words])
    assert ended.value.code == 2
    assert message in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "publish: game_0 has no known seed"),
        (("--observations", "--select", "score > 99999"), "no game meets the condition; nothing to publish"),
        (("--observations", "--push", "nowhere"), "push: 'nowhere'; expected user/name"),
        (("--observations", "--private"), "private: nothing is uploaded"),
        (("--observations", "--notes", "none.md"), "notes: none.md: no such file"),
        (("--screens", "--observations"), "screens: "),
    ],
)
def test_what_cannot_be_published_is_refused(tmp_path, capfd, words, message):
    write_games(tmp_path / "data", [30, 20])
    if not words:
        unknown_seed(tmp_path / "data")
    with pytest.raises(SystemExit) as ended:
        published(tmp_path / "data", tmp_path / "out", *words)
    said = capfd.readouterr().err
    assert ended.value.code == 2
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def unknown_seed(folder):
    for path in folder.glob("*.h5"):
        with h5py.File(path, "a") as file:
            rows = file["games"][...]
            rows["core"] = -1
            file["games"][...] = rows


def test_a_folder_with_something_else_is_refused(tmp_path, capfd):
    write_games(tmp_path / "data", [30, 20])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    with pytest.raises(SystemExit):
        published(tmp_path / "data", tmp_path / "out", "--observations")
    assert "is not empty and holds no dataset.json" in capfd.readouterr().err
    assert (tmp_path / "out" / "thesis.tex").read_text() == "mine"


def test_keys_alone_have_no_observations_to_publish(capfd, tmp_path):
    with pytest.raises(SystemExit):
        published(THOUSAND, tmp_path / "out", "--select", EIGHT, "--observations")
    assert "has only keys; strathack dataset expand brings the frames back" in capfd.readouterr().err


@given(st.dictionaries(st.from_regex(r"[\w][\w ./-]{0,20}", fullmatch=True).filter(is_inside), st.binary(max_size=9)))
def test_checksums_are_read_as_they_were_written(contents):
    text = "".join(f"{'ab' * 32}  {name}\n" for name in contents)
    assert set(parse_manifest(text, "here")) == set(contents)


@pytest.mark.parametrize("name", ["../up", "/etc/passwd", "a/../../b", "", "a\\b", ".git/config", "a/.ssh/key"])
def test_checksums_that_lead_elsewhere_are_refused(name):
    with pytest.raises(FormatError, match="here, line 1"):
        parse_manifest(f"{'ab' * 32}  {name}\n", "here")


def test_differing_files_are_told(tmp_path):
    for name in ("one", "two", "three"):
        (tmp_path / name).write_text(name)
    write_manifest(tmp_path, {})
    sums = parse_manifest((tmp_path / MANIFEST).read_text(), "here")
    assert differing(tmp_path, sums) == []
    (tmp_path / "two").write_text("2")
    (tmp_path / "three").unlink()
    assert differing(tmp_path, sums) == ["three", "two"]


def test_two_that_publish_into_one_folder_do_not_mix(tmp_path, monkeypatch, capfd):
    write_games(tmp_path / "data", [30, 5])
    words = (tmp_path / "data", tmp_path / "out", "--observations")
    assert published(*words) == 0
    written = publishing._write_games

    def published_again_meanwhile(*arguments):
        monkeypatch.setattr(publishing, "_write_games", written)
        with pytest.raises(SystemExit, match="2"):
            published(*words)
        assert not (tmp_path / "out" / MANIFEST).exists()
        written(*arguments)

    monkeypatch.setattr(publishing, "_write_games", published_again_meanwhile)
    for table in (tmp_path / "out" / "games").iterdir():
        table.unlink()
    assert published(*words) == 0
    assert "another process is writing to it" in capfd.readouterr().err
    sums = parse_manifest((tmp_path / "out" / MANIFEST).read_text(), MANIFEST)
    assert differing(tmp_path / "out", sums) == []


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("mit", "https://spdx.org/licenses/MIT.html"),
        ("apache-2.0", "https://spdx.org/licenses/Apache-2.0.html"),
        ("odbl", "https://spdx.org/licenses/ODbL-1.0.html"),
        ("llama3", "llama3"),
        ("https://example.org/terms", "https://example.org/terms"),
    ],
)
def test_a_licence_is_told_by_its_page_at_spdx_if_it_has_one(given, address):
    assert license_address(given) == address
