"""Games played again from their keys: expanded, verified, streamed, relabelled."""

import json
import shutil
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from films import write_replies_to
from looking import BOTS, wait_for

from strathack.cli import main
from strathack.collect.playing.clock import Clock
from strathack.collect.replaying import relabelling, streaming
from strathack.collect.replaying.record import ReplayRecord
from strathack.collect.replaying.server import Close, More, Open, Server
from strathack.collect.replaying.streaming import ReplayedFrames
from strathack.collect.running.pools import Finished
from strathack.collect.running.results import Refused, Verified
from strathack.collect.running.workplace import Workplace
from strathack.dataset import Dataset
from strathack.dataset.actions import ACTION_NAMES
from strathack.dataset.errors import CorruptionError, InputError, RunError
from strathack.dataset.folder import replies_path
from strathack.dataset.frames import StoredFrames
from strathack.dataset.keys import keys_only
from strathack.dataset.replies import read_replies
from strathack.dataset.schema import COMPLETENESS, DEFAULT_OBSERVATIONS
from strathack.dataset.splits import Fractions
from strathack.dataset.streams import unrolls, windows
from strathack.dataset.verify import running_digests

HERE = ("--workers", 0, "--quiet")
ALL = "glyphs,blstats,message,inv_strs,tty_chars,tty_colors,tty_cursor"

pytestmark = pytest.mark.usefixtures("nothing_left")


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """Six games of a bot that walks at random, with many observations, and their keys alone."""
    folder = tmp_path_factory.mktemp("played")
    strathack = [sys.executable, "-m", "strathack"]
    words = ["--seeds", "0:6", "--demonstrator", str(BOTS / "wanderer"), "--observations", ALL, "--quiet"]
    collect = ["collect", str(folder / "full"), *words, "--max-steps", "2500", "--workers", "0"]
    subprocess.run([*strathack, *collect], check=True, capture_output=True)
    compact = ["dataset", "compact", str(folder / "full"), str(folder / "keys"), "--quiet"]
    subprocess.run([*strathack, *compact], check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_expanding_gives_every_array_back(run, played, tmp_path, workers):
    words = ("--observations", ALL, "--workers", workers, "--quiet")
    ended = run("dataset", "expand", played / "keys", tmp_path / "data", *words)
    assert ended.status == 0, ended.err
    assert f"6 of 6 games came back, {Dataset(played / 'full').steps:,} steps" in ended.out
    for game, back in zip(Dataset(played / "full"), Dataset(tmp_path / "data"), strict=True):
        assert set(game.arrays) == set(back.arrays)
        for name in game.arrays:
            assert np.array_equal(game.arrays[name][:], back.arrays[name][:]), name
        assert {**back.info, "origin": "played"} == game.info
        assert back.info["origin"] == "replayed"
    assert run("dataset", "verify", tmp_path / "data", "--quiet").status == 0


def changed(folder, game, step):
    """Has a keys-only game walk far to the west and back for some steps, checksums in order."""
    path = next(folder.glob("*.h5"))
    with h5py.File(path, "a") as file:
        file[f"data/{game}/actions"][step : step + 20] = np.tile([ACTION_NAMES.index("esc"), 11, 9, 8], 5)


def test_a_game_that_does_not_come_back_is_listed_with_the_first_steps_that_differ(run, played, tmp_path):
    shutil.copytree(played / "keys", tmp_path / "keys")
    longest = max(Dataset(played / "keys"), key=len)
    name, step = longest.name, len(longest) * 3 // 4
    changed(tmp_path / "keys", name, step)
    split = ("--train", 0.2, "--validation", 0.5, "--test", 0.3)
    assert main(["dataset", "split", *map(str, (tmp_path / "keys", *split, "--quiet"))]) == 0
    ended = run("dataset", "expand", tmp_path / "keys", tmp_path / "data", *HERE)
    assert ended.status == 1
    assert "5 of 6 games came back" in ended.out
    assert Dataset(tmp_path / "data").fractions == Dataset(tmp_path / "keys").fractions == Fractions(0.2, 0.5, 0.3)
    reason = f"did not come back: {name}: the replay shows other frames, first between steps {step // 1024 * 1024} and "
    assert reason in ended.out
    again = run("dataset", "expand", tmp_path / "keys", tmp_path / "data", *HERE)
    assert "5 of 6 games came back" in again.out
    assert again.err.count("\n") == 1, "the others are not replayed again"


def test_a_game_without_a_digest_is_held_against_its_own_screens(run, played, tmp_path):
    """As games are that were imported with their keys and screens."""
    shutil.copytree(played / "full", tmp_path / "full")
    for path in (tmp_path / "full").glob("*.h5"):
        with h5py.File(path, "a") as file:
            rows = file["games"][:]
            rows["frames_sha256"], rows["completeness"] = b"", COMPLETENESS["truncated"]
            file["games"][...] = rows
    longest = max(Dataset(tmp_path / "full"), key=len)
    step = len(longest) * 3 // 4
    changed(tmp_path / "full", longest.name, step)
    ended = run("dataset", "expand", tmp_path / "full", tmp_path / "data", *HERE)
    assert ended.status == 1
    assert "5 of 6 games came back" in ended.out
    block = step // 1024 * 1024
    assert f"{longest.name}: the replay shows other screens, first between steps {block} and " in ended.out


def test_a_damaged_game_is_listed_and_the_others_come_back(run, played, tmp_path):
    shutil.copytree(played / "keys", tmp_path / "keys")
    path = next((tmp_path / "keys").glob("*.h5"))
    with h5py.File(path) as file:
        chunk = file["data/game_2/actions"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset + chunk.size // 2] ^= 16
    path.write_bytes(content)
    ended = run("dataset", "expand", tmp_path / "keys", tmp_path / "data", "--workers", "0", "--quiet")
    assert ended.status == 1
    assert "5 of 6 games came back" in ended.out
    assert "did not come back: game_2: " in ended.out


def rechunked(path, steps):
    """Stores screens in chunks of so many steps, as another writer may."""
    with h5py.File(path, "a") as file:
        for key in ("tty_chars", "tty_colors", "tty_cursor", "blstats"):
            for game in file["data"].values():
                values = game["obs"][key][:]
                del game["obs"][key]
                game["obs"].create_dataset(
                    key, data=values, chunks=(min(steps, len(values)), *values.shape[1:]), compression=32015,
                    fletcher32=True,
                )  # fmt: skip


def test_digests_do_not_depend_on_how_long_chunks_are(run, played, tmp_path):
    shutil.copytree(played / "full", tmp_path / "full")
    for path in (tmp_path / "full").glob("*.h5"):
        rechunked(path, 256)
    assert run("dataset", "verify", tmp_path / "full", "--quiet").status == 0
    whole, other = (Dataset(folder / "full")["game_2"].obs["tty_chars"] for folder in (played, tmp_path))
    assert other.chunk_steps == 256 < whole.chunk_steps
    assert running_digests(whole) == running_digests(other)


def test_what_a_model_replied_goes_with_an_expanded_game(run, played, tmp_path):
    shutil.copytree(played / "keys", tmp_path / "keys")
    game = Dataset(tmp_path / "keys")["game_2"]
    write_replies_to(game, {3: "north"})
    ended = run("dataset", "expand", tmp_path / "keys", tmp_path / "data", "--select", "core == 2", *HERE)
    assert ended.status == 0, ended.err
    here, there = (read_replies(replies_path(tmp_path / folder, "game_2")) for folder in ("keys", "data"))
    assert len(here) == 2
    assert here == there


def test_a_damaged_game_is_told_of_when_it_is_relabelled():
    told = relabelling._described(False, "game_2", Refused("shard-00000.h5: game_2/actions: damaged"))
    assert told.failed
    assert "game_2/actions: damaged" in told.line


def test_two_threads_start_the_replaying_processes_once(monkeypatch):
    made = []

    class Slow:
        def __init__(self, processes):
            time.sleep(0.05)
            made.append(self)

        def open(self, *_):
            return self

    monkeypatch.setattr(streaming, "ReplayedFrames", Slow)
    frames, game = streaming.AnyFrames(), SimpleNamespace(obs={}, arrays={})
    with ThreadPoolExecutor(4) as threads:
        opened = list(threads.map(lambda _: frames.open(game, ["tty_chars"], 0), range(8)))
    assert opened == made * 8


@pytest.mark.slow
def test_verify_replays_without_writing_and_goes_on_after_an_interruption(run, start, played, tmp_path):
    ended = run("dataset", "verify", played / "keys", "--replay", *HERE)
    assert ended.status == 0, ended.err
    assert "6 of 6 games came back from their keys" in ended.out
    shutil.copytree(played / "keys", tmp_path / "keys")
    changed(tmp_path / "keys", "game_2", 5)
    found = run("dataset", "verify", tmp_path / "keys", "--replay", *HERE)
    assert found.status == 1
    assert "game_2/actions: the digest of the keys" in found.out
    assert "5 of 6 games came back from their keys" in found.out
    record = tmp_path / "keys" / ".replayed-keys.json"
    assert not record.exists()
    shutil.copy(next((played / "keys").glob("*.h5")), next((tmp_path / "keys").glob("*.h5")))
    sound = Dataset(tmp_path / "keys")
    interrupted = ReplayRecord(tmp_path / "keys", sound)
    for name in sound.names[:5]:
        interrupted.keep(Finished(name, Verified(1)))
    interrupted.write()
    told = json.loads(record.read_text())
    told[sound.names[1]]["digest"] = "of what it was before"
    record.write_text(json.dumps(told))
    found = run("dataset", "verify", tmp_path / "keys", "--replay", *HERE)
    assert "6 of 6 games came back" in found.out
    assert found.err.count("game_") == 2, "one that the interrupted run had not replayed, one that has changed since"


def test_an_interrupted_expansion_goes_on(start, run, played, tmp_path):
    process = start("dataset", "expand", played / "keys", tmp_path / "data", *HERE)
    wait_for(lambda: list((tmp_path / "data").glob("game_*.h5")) or process.poll() is not None)
    process.terminate()
    process.communicate(timeout=60)
    ended = run("dataset", "expand", played / "keys", tmp_path / "data", *HERE)
    assert ended.status == 0
    assert len(Dataset(tmp_path / "data")) == 6


@pytest.mark.parametrize(("lanes", "steps"), [(4, 32), (2, 300)])
def test_a_stream_of_keys_is_that_of_the_expanded_dataset_bit_for_bit(played, lanes, steps):
    keys, full = Dataset(played / "keys"), Dataset(played / "full")
    options = {"lanes": lanes, "steps": steps, "observations": ALL.split(","), "previous_strategy": "strategy"}
    with ReplayedFrames(2) as frames:
        pairs = zip(unrolls(keys, **options, frames=frames), unrolls(full, **options), strict=True)
        for one, other in pairs:
            assert one.keys() == other.keys()
            assert all(one[name].tobytes() == other[name].tobytes() for name in one)


def test_a_stream_of_keys_replays_by_itself_and_leaves_no_process(played):
    keys, full = Dataset(played / "keys"), Dataset(played / "full")
    shown = {"lanes": 2, "steps": 64}
    with closing(unrolls(keys, **shown)) as stream:
        for _, expected in zip(range(20), unrolls(full, **shown, observations=DEFAULT_OBSERVATIONS), strict=False):
            found = next(stream)
            assert found.keys() == expected.keys()
            assert all(found[name].tobytes() == expected[name].tobytes() for name in found)
        stream.close()
        next(stream)  # the processes are started again


def test_processes_that_a_thread_has_started_outlive_the_thread(played):
    game = max(Dataset(played / "keys"), key=len)
    out = np.zeros((len(game), 24 * 80), np.uint8)

    def begun(frames):
        reader = frames.open(game, ["tty_chars"], 0)
        reader.copy(0, 1, {"tty_chars": out[:1]})
        return reader

    with streaming.AnyFrames(1) as frames:
        with ThreadPoolExecutor(1) as threads:
            reader = threads.submit(begun, frames).result()
        process = frames._replayed._processes[0]._process
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)  # the kernel kills at once what dies with the thread
        reader.copy(1, len(game), {"tty_chars": out[1:]})
        reader.close()
    assert out.any(1).all()
    assert process.returncode == 0, "it has ended by itself"


def test_games_that_take_turns_are_each_replayed_at_their_own_clock(played, monkeypatch):
    held = []
    monkeypatch.setattr(Clock, "hold", lambda self: held.append(str(self)))
    one, other = (keys_only(game) for game in sorted(Dataset(played / "keys"), key=len)[-2:])
    night = other.row.copy()
    night["clock"] = "2023-10-23T23:30:00"
    server = Server()
    with closing(Workplace()):
        for number, game in enumerate((one, replace(other, row=night))):
            server.answer(Open(number, game, ("tty_chars",), 0))
        for number in (0, 1, 0):
            assert not server.answer(More(number)).error
            assert held[-1] == ("2023-10-23T12:00:00", "2023-10-23T23:30:00")[number]
        for number in (0, 1):
            server.answer(Close(number))


def test_where_nothing_can_be_written_a_verification_ends_all_the_same(played, monkeypatch):
    def refuse(*_):
        raise OSError(30, "Read-only file system")

    record = ReplayRecord(played / "keys", Dataset(played / "keys"))
    record.keep(Finished("game_0", Verified(1)))
    monkeypatch.setattr("strathack.collect.replaying.record.atomic_write", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.warns(UserWarning, match=r"cannot be written \(Read-only file system\); what is replayed"):
        record.write()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        record.write()  # it is told once
    record.remove()
    assert not record.departed


def test_a_policy_is_trained_from_keys(played, tmp_path):
    pytest.importorskip("pytorch_lightning")
    shutil.copytree(played / "keys", tmp_path / "keys")
    words = "--set heads.kind=flat --lanes 2 --unroll 8 --steps 3 --validation-batches 1 --quiet"
    assert (
        main(["dataset", "split", str(tmp_path / "keys"), "--train", "0.5", "--validation", "0.5", "--test", "0"]) == 0
    )
    assert main(["train", str(tmp_path / "keys"), "--out", str(tmp_path / "run"), *words.split()]) == 0
    assert (tmp_path / "run" / "last.safetensors").exists()


def test_a_stream_of_keys_resumes_in_mid_game(played):
    keys = Dataset(played / "keys")
    with ReplayedFrames(1) as frames:
        stream = unrolls(keys, lanes=2, steps=64, observations=["tty_chars"], frames=frames)
        for _ in range(9):
            next(stream)
        state = stream.state_dict()
        rest = [batch["tty_chars"].tobytes() for batch in stream]
        resumed = unrolls(keys, lanes=2, steps=64, observations=["tty_chars"], frames=frames)
        resumed.load_state_dict(state)
        assert [batch["tty_chars"].tobytes() for batch in resumed] == rest


def test_a_stream_of_keys_stops_where_the_replay_departs(played, tmp_path):
    shutil.copytree(played / "keys", tmp_path / "keys")
    changed(tmp_path / "keys", "game_0", 3)
    with (
        ReplayedFrames(1) as frames,
        pytest.raises(CorruptionError, match="game_0: its replay shows other frames, first between steps 0 and "),
    ):
        list(unrolls(Dataset(tmp_path / "keys"), lanes=1, steps=64, observations=["tty_chars"], frames=frames))


def test_a_killed_replaying_process_ends_the_stream_with_a_clear_error(played):
    with ReplayedFrames(1) as frames:
        keys = Dataset(played / "keys")
        stream = unrolls(keys, lanes=2, steps=64, observations=["tty_chars"], frames=frames, epochs=None)
        next(stream)
        frames._processes[0]._process.kill()
        with pytest.raises(RunError, match=r"a replaying process is gone \(exit status -9\)"):
            for _ in stream:
                pass


def test_keys_alone_are_not_streamed_without_replaying(played):
    shown = {"lanes": 1, "steps": 1, "observations": ["tty_chars"]}
    for stream in (unrolls(Dataset(played / "keys"), **shown, frames=StoredFrames()),
                   windows(Dataset(played / "keys"), **shown)):  # fmt: skip
        with pytest.raises(InputError, match="only its keys are kept: expand the dataset, or stream it by replaying"):
            next(stream)


def relabelled(run, shared, folder, seeds, *words):
    pytest.importorskip("nethackers")
    for seed in seeds:
        shutil.copytree(shared / "fixtures" / "hihack" / str(seed), folder / "ttyrecs" / str(seed))
    assert run("dataset", "import", folder / "ttyrecs", folder / "imported", *HERE).status == 0
    return run("dataset", "relabel", folder / "imported", folder / "data", *words, "--quiet", timeout=400)


def check_relabelled(folder, seeds):
    dataset = Dataset(folder / "data")
    assert sorted(dataset.rows["core"].tolist()) == seeds
    for game in dataset:
        imported = Dataset(folder / "imported")[game.name]
        assert game.info["keys_sha256"] == imported.info["keys_sha256"]
        assert np.array_equal(game.actions[:], imported.actions[:])
        assert np.array_equal(game.hihack_strategy[:], imported.hihack_strategy[:])
        for key in ("tty_chars", "tty_colors", "tty_cursor"):
            assert np.array_equal(game.obs[key][:], imported.obs[key][:])
        assert "blstats" in game.obs
        names = game.strategy.names()
        assert "unlabelled" not in names
        published = (game.hihack_strategy[:] == 1).mean()
        assert published > 0.9
        assert 0.03 < (names == "fight").mean() < 0.65
        assert game.info["score"] == imported.info["score"]


@pytest.mark.slow
def test_relabelling_a_published_game_gives_its_true_strategies(run, shared, tmp_path):
    ended = relabelled(run, shared, tmp_path, [2], "--workers", 0)
    assert ended.status == 0, ended.err
    assert "1 of 1 games relabelled" in ended.out
    check_relabelled(tmp_path, [2])
    assert run("dataset", "verify", tmp_path / "data", "--quiet").status == 0


@pytest.mark.slow
def test_a_game_that_does_not_reproduce_keeps_its_published_labels(run, shared, tmp_path):
    pytest.importorskip("nethackers")
    shutil.copytree(shared / "fixtures" / "hihack" / "2", tmp_path / "ttyrecs" / "3")  # not what seed 3 plays
    assert run("dataset", "import", tmp_path / "ttyrecs", tmp_path / "imported", *HERE).status == 0
    ended = run("dataset", "relabel", tmp_path / "imported", tmp_path / "data", *HERE)
    assert ended.status == 1
    assert "0 of 1 games relabelled" in ended.out
    told = "published labels only: game_3: the bot presses another key at step "
    assert told in ended.out
    again = run("dataset", "relabel", tmp_path / "imported", tmp_path / "data", *HERE)
    assert again.status == 1
    assert told in again.out, "with the game there already"
    game, imported = Dataset(tmp_path / "data")[0], Dataset(tmp_path / "imported")[0]
    assert set(game.strategy.names()) == {"unlabelled"}
    assert np.array_equal(game.hihack_strategy[:], imported.hihack_strategy[:])
    assert game.row.tobytes() == imported.row.tobytes()


@pytest.mark.slow
def test_relabelling_whole_and_truncated_published_games_on_two_workers(run, shared, tmp_path):
    seeds = [1, 2, 4, 22]
    ended = relabelled(run, shared, tmp_path, seeds, "--workers", 2)
    assert ended.status == 0, ended.err
    assert "4 of 4 games relabelled" in ended.out
    check_relabelled(tmp_path, seeds)
