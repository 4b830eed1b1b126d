"""Datasets that are elsewhere: the same games as here, few bytes more than are needed, and every kind of fault."""

import json
import multiprocessing
import os
import pickle
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import h5py
import numpy as np
import pytest
from hub import READER, WRITER
from huggingface_hub import HfApi, HfFileSystem
from hypothesis import given
from hypothesis import strategies as st
from made_up_games import made_up, provenance, write_games

from strathack.cli import main
from strathack.dataset import Dataset
from strathack.dataset.errors import CorruptionError, FormatError, InputError, RunError
from strathack.dataset.manifest import MANIFEST
from strathack.dataset.remote import shards as remote
from strathack.dataset.remote.addresses import address_of, without_secrets
from strathack.dataset.remote.blocks import BLOCK, BlockCache, CacheSettings
from strathack.dataset.remote.shards import RemoteShard
from strathack.dataset.remote.stores import RemoteFile, UnreachableError
from strathack.dataset.shard import encode_shard
from strathack.dataset.streams import unrolls

KEYS = ("tty_chars", "tty_colors", "tty_cursor", "blstats")
LENGTHS = [300, 50, 1100, 64, 700, 400, 90, 1500]
NAME = "me/games"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A published folder of made-up games with all that a stream shows."""
    place = tmp_path_factory.mktemp("folder")
    write_games(place / "data", LENGTHS, keys=KEYS, games_per_shard=8)
    words = ["dataset", "publish", place / "data", place / "games", "--observations", "--quiet"]
    assert main([*map(str, words)]) == 0
    return place / "games"


@pytest.fixture
def served(hub, folder):
    """The address of the folder on a plain server."""
    shutil.rmtree(hub.plain)
    hub.plain.symlink_to(folder)
    return f"{hub.url}/plain"


@pytest.fixture
def pushed(hub, folder):
    """The address of the folder on the hub."""
    api = HfApi(endpoint=hub.url, token=WRITER)
    api.create_repo(NAME, repo_type="dataset")
    api.upload_folder(repo_id=NAME, folder_path=folder, repo_type="dataset")
    return f"hf://datasets/{NAME}"


def batches(dataset):
    return [
        {name: values.copy() for name, values in batch.items()}
        for batch in unrolls(dataset, lanes=3, steps=16, epochs=1)
    ]


def same_batches(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            assert np.array_equal(a[name], b[name]), name


@pytest.mark.parametrize("place", ["served", "pushed"])
def test_a_stream_shows_the_same_as_from_the_folder(request, folder, place):
    address = request.getfixturevalue(place)
    dataset = Dataset(address)
    assert dataset.rows.tobytes() == Dataset(folder).rows.tobytes()
    same_batches(batches(dataset), batches(Dataset(folder)))
    assert dataset["game_2"].attributes == Dataset(folder)["game_2"].attributes


def test_tables_come_first_and_games_when_they_are_read(hub, served, folder):
    size = (folder / "shard-00000.h5").stat().st_size
    dataset = Dataset(served)
    assert len(dataset) == len(LENGTHS)
    assert hub.bytes_sent(r"\.h5$") < 0.2 * size
    before = hub.bytes_sent(r"\.h5$")
    game = dataset["game_4"]
    assert game.obs["tty_chars"][5].shape == (24, 80)
    assert 0 < hub.bytes_sent(r"\.h5$") - before < 0.5 * size


def test_a_walk_fetches_little_more_than_it_needs(hub, served, folder):
    """Half of the games, with everything of them: what is needed is their chunks, and what HDF5 reads to find them."""
    chosen = Dataset(served).select("core in (2, 4, 5, 7)")
    batches(chosen)
    needed = 0
    for game in Dataset(folder).select("core in (2, 4, 5, 7)"):
        needed += sum(int(array.places[:, 1].sum()) for array in game.arrays.values())
    fetched = hub.bytes_sent(r"\.h5$")
    assert needed < fetched <= 1.2 * needed
    batches(chosen)
    assert hub.bytes_sent(r"\.h5$") == fetched, "what is in the cache is not fetched again"


def test_addresses_reach_the_commands(served, folder, tmp_path, capfd):
    assert main(["dataset", "info", served, "--json"]) == 0
    here = json.loads(capfd.readouterr().out)
    assert main(["dataset", "info", str(folder), "--json"]) == 0
    assert here == json.loads(capfd.readouterr().out)
    assert main(["dataset", "verify", served]) == 0
    assert main(["dataset", "merge", str(tmp_path / "merged"), f"{served}/shard-00000.h5", "--quiet"]) == 0
    assert Dataset(tmp_path / "merged").rows.tobytes() == Dataset(folder).rows.tobytes()


def test_a_dataset_elsewhere_is_carried_to_other_processes_and_over_a_fork(served, folder):
    dataset = pickle.loads(pickle.dumps(Dataset(served)))
    expected = Dataset(folder)["game_5"].obs["tty_chars"][:]
    assert np.array_equal(dataset["game_5"].obs["tty_chars"][:], expected)
    other = Dataset(folder)["game_7"].obs["tty_chars"][:]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        for values in pool.map(_screens, [(dataset, "game_7")] * 4):
            assert np.array_equal(values, other)


def _screens(question):
    dataset, name = question
    return dataset[name].obs["tty_chars"][:]


def test_two_processes_may_fetch_the_same_file(served, start):
    """Both begin with an empty cache, at the same time, and read all of it."""
    processes = [start("dataset", "verify", served) for _ in range(2)]
    for process in processes:
        out, _ = process.communicate(timeout=60)
        assert (process.returncode, out) == (0, "1 shards as they were written\n")


def test_connections_that_drop_in_the_middle_are_taken_up_again(hub, served, folder):
    hub.faults.cut_after(r"\.h5$", 1000, times=3)
    same_batches(batches(Dataset(served)), batches(Dataset(folder)))
    assert sum(request.status == 0 or request.sent == 1000 for request in hub.requests) >= 3


def test_wrong_bytes_are_fetched_once_more(hub, served, folder):
    dataset = Dataset(served)
    hub.faults.corrupt(r"\.h5$")
    game = dataset["game_7"]
    assert np.array_equal(game.obs["tty_chars"][:], Dataset(folder)["game_7"].obs["tty_chars"][:])


def test_bytes_that_stay_wrong_are_refused_by_name(hub, served):
    dataset = Dataset(served)
    array = dataset["game_7"].obs["tty_chars"]
    hub.faults.corrupt(r"\.h5$", times=10)
    with pytest.raises(CorruptionError, match=r"http://127.*/plain/shard-00000.h5: game_7/obs/tty_chars, the chunk"):
        array[:]


def test_tables_that_are_damaged_there_are_refused_by_name(hub, folder):
    shutil.rmtree(hub.plain)
    shutil.copytree(folder, hub.plain)
    path = hub.plain / "shard-00000.h5"
    with h5py.File(path) as file:
        info = file["games"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[info.byte_offset + info.size // 2] ^= 16
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"http://127.*/shard-00000.h5: its tables cannot be read.*fetched twice"):
        Dataset(f"{hub.url}/plain")
    assert sum(request.range == "bytes=0-32767" for request in hub.requests) == 2


def test_without_the_place_a_warm_cache_works_and_a_cold_one_is_one_line(hub, served, folder, capfd):
    expected = batches(Dataset(served))
    hub.faults.down = True
    with pytest.warns(UserWarning, match="cannot be reached .*; what is in the cache is read"):
        dataset = Dataset(served)
    same_batches(batches(dataset), expected)
    with pytest.raises(SystemExit) as ended:
        main(["dataset", "info", f"{served}/other"])
    assert ended.value.code == 1
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert "cannot be reached" in said
    assert "and nothing of it is in the cache" in said


def test_what_is_said_without_the_place_is_one_line(hub, served, run):
    assert run("dataset", "info", served).status == 0
    hub.faults.down = True
    ended = run("dataset", "info", served)
    assert ended.status == 0
    assert ended.error.startswith(f"strathack: {served}/checksums.sha256: cannot be reached")


def test_many_may_open_the_same_place_at_once(served):
    """None takes what another is writing for what is there, or removes it."""
    (pointer,) = Dataset(served).paths
    writing = pointer.with_name(f".tmp-1234-{pointer.name}")
    writing.write_bytes(b"half")
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: len(Dataset(served)), range(40)))
    assert found == [len(LENGTHS)] * 40
    assert writing.read_bytes() == b"half"


def test_a_dataset_that_is_open_stays_what_it_was_when_the_place_changes(hub, folder, tmp_path):
    shutil.rmtree(hub.plain)
    shutil.copytree(folder, hub.plain)
    before = Dataset(f"{hub.url}/plain")
    batches(before)
    write_games(tmp_path / "new", [33], keys=KEYS)
    shutil.rmtree(hub.plain)
    words = ["dataset", "publish", tmp_path / "new", hub.plain, "--observations", "--quiet"]
    assert main([*map(str, words)]) == 0
    fsspec.get_filesystem_class("http").clear_instance_cache()
    after = Dataset(f"{hub.url}/plain")
    assert (after.steps, before.steps) == (33, sum(LENGTHS))
    same_batches(batches(after), batches(Dataset(hub.plain)))
    same_batches(batches(before), batches(Dataset(folder)))


def test_checksums_that_may_not_be_read_are_told(hub, served):
    hub.faults.fail(r"checksums", 403, times=9)
    with pytest.raises(InputError, match=r"checksums.sha256: may not be read \(403\); see that there is a token"):
        Dataset(served)


def test_without_the_place_what_is_not_in_the_cache_is_one_line(hub, served):
    dataset = Dataset(served)
    game = dataset["game_7"]
    array = game.obs["tty_chars"]
    hub.faults.down = True
    with pytest.raises(UnreachableError, match=r"shard-00000.h5: cannot be reached"):
        array[700]


def test_a_place_without_checksums_is_listed(hub, folder, tmp_path):
    shutil.rmtree(hub.plain)
    shutil.copytree(folder, hub.plain)
    (hub.plain / MANIFEST).unlink()
    assert len(Dataset(f"{hub.url}/plain")) == len(LENGTHS)


def test_shards_that_are_not_merged_come_in_the_folder_s_order(hub, tmp_path):
    write_games(tmp_path / "data", [30, 20, 50, 40], keys=KEYS, games_per_shard=2)
    hub.plain.rmdir()
    shutil.copytree(tmp_path / "data", hub.plain)
    data, _ = made_up(9, 25, KEYS)
    (hub.plain / "game_9.h5").write_bytes(encode_shard(data, provenance(observations=KEYS)))
    assert Dataset(f"{hub.url}/plain").names == Dataset(hub.plain).names
    hub.faults.down = True
    with pytest.warns(UserWarning, match="what is in the cache is read"):
        assert Dataset(f"{hub.url}/plain").names == Dataset(hub.plain).names


def test_a_server_without_ranges_is_refused(served, monkeypatch):
    whole = fsspec.get_filesystem_class("http").cat_file
    monkeypatch.setattr(fsspec.get_filesystem_class("http"), "cat_file", lambda self, path, **_: whole(self, path))
    with pytest.raises(InputError, match="the server sends more than is asked for; expected one that knows ranges"):
        Dataset(served)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("hf://datasets/me/games@nope", r"nope: there is no such file or folder \(revision not found\)"),
        ("hf://datasets/me/none", r"none: there is no such file or folder \(repository not found\)"),
        ("hf://datasets/me/games/games", "holds no shards"),
    ],
)
def test_what_is_not_there_is_refused(pushed, address, message):
    with pytest.raises(InputError, match=message):
        Dataset(address)


def test_a_revision_stays_what_it_was(hub, pushed, folder, tmp_path):
    api = HfApi(endpoint=hub.url, token=WRITER)
    first = api.repo_info(NAME, repo_type="dataset").sha
    write_games(tmp_path / "new", [33], keys=KEYS)
    assert main(["dataset", "publish", str(tmp_path / "new"), str(tmp_path / "out"), "--observations", "--quiet"]) == 0
    api.upload_folder(repo_id=NAME, folder_path=tmp_path / "out", repo_type="dataset")
    assert Dataset(pushed).steps == 33
    old = Dataset(f"{pushed}@{first}")
    assert old.steps == sum(LENGTHS)
    same_batches(batches(old), batches(Dataset(folder)))


def test_a_private_repository_needs_a_token_and_none_is_told(hub, folder, monkeypatch, capfd):
    api = HfApi(endpoint=hub.url, token=WRITER)
    api.create_repo(NAME, repo_type="dataset", private=True)
    api.upload_folder(repo_id=NAME, folder_path=folder, repo_type="dataset")
    with pytest.raises(SystemExit):
        main(["dataset", "info", f"hf://datasets/{NAME}"])
    assert "repository not found" in capfd.readouterr().err
    monkeypatch.setenv("HF_TOKEN", READER)
    HfFileSystem.clear_instance_cache()  # which remembers what it did not find
    assert len(Dataset(f"hf://datasets/{NAME}")) == len(LENGTHS)
    written = [path.read_bytes() for path in Path(os.environ["STRATHACK_CACHE"]).rglob("*") if path.is_file()]
    assert written
    assert not any(READER.encode() in content for content in written)


def test_on_a_full_disk_everything_is_shown_and_one_line_says_that_nothing_is_kept(
    served, folder, small_disk, run, monkeypatch
):
    monkeypatch.setenv("STRATHACK_CACHE", str(small_disk))
    (small_disk / "other").write_bytes(bytes(230_000))
    with pytest.warns(UserWarning, match=r"the cache cannot be written \(No space left on device\), so that bytes"):
        same_batches(batches(Dataset(served)), batches(Dataset(folder)))
    ended = run("dataset", "info", served)
    assert ended.status == 0
    assert "STRATHACK_CACHE names another folder for it" in ended.error
    (small_disk / "rest").write_bytes(bytes(1000))
    with pytest.raises(OSError, match="No space"):
        (small_disk / "more").write_bytes(bytes(100_000))
    shutil.rmtree(small_disk / "places")
    (small_disk / "places").write_text("no folder")
    with pytest.raises(RunError, match=r"places/.*: the cache cannot be written"):
        Dataset(served)


def test_the_cache_keeps_to_its_size_and_everything_is_still_shown(hub, served, folder, monkeypatch):
    monkeypatch.setenv("STRATHACK_CACHE_GB", "0.001")
    monkeypatch.setattr("strathack.dataset.remote.blocks._LOOK_EVERY", 1 << 18)
    same_batches(batches(Dataset(served)), batches(Dataset(folder)))
    cache = Path(os.environ["STRATHACK_CACHE"]) / "blocks"
    assert sum(path.stat().st_size for path in cache.rglob("*") if path.is_file()) < 1_000_000 + (1 << 19)


def test_small_shards_count_together_for_the_size_of_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("strathack.dataset.remote.blocks._LOOK_EVERY", 1 << 16)
    settings = CacheSettings(tmp_path, 0.0001)
    for number in range(40):
        settings.blocks().write(f"{number:02d}" * 32, 0, bytes(30_000))
    assert settings.blocks().size() < 100_000 + (1 << 16)


def test_the_size_of_the_cache_has_to_be_a_number(served, monkeypatch):
    monkeypatch.setenv("STRATHACK_CACHE_GB", "lots")
    with pytest.raises(InputError, match="STRATHACK_CACHE_GB: 'lots'; expected a finite number above 0"):
        Dataset(served)


def test_a_name_that_leads_elsewhere_is_refused(hub, folder):
    shutil.rmtree(hub.plain)
    shutil.copytree(folder, hub.plain)
    (hub.plain / MANIFEST).write_text(f"{'00' * 32}  ../../etc/shard-00000.h5\n")
    with pytest.raises(FormatError, match=r"checksums.sha256, line 1: .*expected a SHA-256 and the name of a file"):
        Dataset(f"{hub.url}/plain")


class Place:
    """Stands for a file elsewhere, and notes what is asked of it."""

    def __init__(self, content):
        self.content, self.asked = content, []

    def fetch(self, _, start, stop):
        self.asked.append((start, stop))
        return self.content[start:stop]


@given(
    size=st.integers(0, 5 * BLOCK),
    ranges=st.lists(st.tuples(st.integers(0, 5 * BLOCK), st.integers(0, 3 * BLOCK)), min_size=1, max_size=6),
    ahead=st.booleans(),
)
def test_ranges_are_those_of_the_file_and_no_block_is_fetched_twice(tmp_path_factory, size, ranges, ahead):
    content = np.random.default_rng(size).bytes(size)
    place = Place(content)
    folder = tmp_path_factory.mktemp("blocks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remote, "bytes_of", place.fetch)
        shard = RemoteShard(RemoteFile("https://x/y", size, "", "ab" * 32), BlockCache(folder, 1 << 30))
        if ahead:
            shard.prefetch([(offset, length) for offset, length in ranges if offset + length <= size])
        for offset, length in ranges:
            assert shard.read(offset, length) == content[offset : offset + length]
        read = shard.through(lambda file: [part(file, offset, length) for offset, length in ranges])
        assert read == [content[offset : offset + length] for offset, length in ranges]
    blocks = [number for start, stop in place.asked for number in range(start // BLOCK, -(-stop // BLOCK))]
    assert len(blocks) == len(set(blocks))


def part(file, offset, length):
    """Bytes of a file, or the error that HDF5 would make of some that are missing."""
    buffer = bytearray(length)
    file.seek(offset)
    try:
        count = file.readinto(memoryview(buffer))
    except OSError as error:
        raise FormatError("not readable") from error
    return bytes(buffer[:count])


def test_a_block_that_is_there_and_cannot_be_read_is_fetched(tmp_path, monkeypatch):
    place = Place(bytes(range(256)) * 400)
    monkeypatch.setattr(remote, "bytes_of", place.fetch)
    shard = RemoteShard(RemoteFile("https://x/y", 102_400, "", "aa" * 32), BlockCache(tmp_path, 1 << 30))
    shard.read(0, 100_000)
    monkeypatch.setattr(BlockCache, "read", lambda *_: None)
    assert shard.read(5, 70_000) == place.content[5:70_005]


def test_what_was_removed_meanwhile_is_fetched_ahead_again(tmp_path, monkeypatch):
    place = Place(bytes(range(256)) * 400)
    monkeypatch.setattr(remote, "bytes_of", place.fetch)
    cache = BlockCache(tmp_path, 1 << 30)
    shard = RemoteShard(RemoteFile("https://x/y", 102_400, "", "ab" * 32), cache)

    def prefetched():
        shard.prefetch([(0, 102_400)])
        while shard._coming:
            time.sleep(0.01)
        return place.asked.copy()

    assert prefetched() == [(0, 102_400)]
    cache.drop("ab" * 32)
    assert len(prefetched()) == 1, "it is not looked for again while nothing is missing"
    shard.read(0, 100)
    assert prefetched()[1:] == [(0, BLOCK), (BLOCK, 102_400)], "the others before they are read"


def test_a_block_that_was_not_written_to_its_end_is_fetched_anew(tmp_path, monkeypatch):
    place = Place(bytes(range(256)) * 400)
    monkeypatch.setattr(remote, "bytes_of", place.fetch)
    shard = RemoteShard(RemoteFile("https://x/y", 102_400, "", "ef" * 32), BlockCache(tmp_path, 1 << 30))
    shard.read(0, 100_000)
    (tmp_path / "ef" / ("ef" * 32) / "1").write_bytes(b"cut")
    assert shard.read(0, 100_000) == place.content[:100_000]
    assert place.asked[1:] == [(BLOCK, 2 * BLOCK)]


def test_threads_that_want_the_same_block_fetch_it_once(tmp_path, monkeypatch):
    place, gate = Place(bytes(range(256)) * 1000), threading.Event()

    def slow(*asked):
        gate.wait(5)
        return place.fetch(*asked)

    monkeypatch.setattr(remote, "bytes_of", slow)
    shard = RemoteShard(RemoteFile("https://x/y", 256_000, "", "cd" * 32), BlockCache(tmp_path, 1 << 30))
    found = []
    threads = [threading.Thread(target=lambda: found.append(shard.read(10, 100))) for _ in range(5)]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join()
    assert found == [place.content[10:110]] * 5
    assert len(place.asked) == 1


@pytest.mark.parametrize("scheme", ["hf", "https", "http", "s3", "gs"])
def test_a_path_made_of_an_address_is_still_one(scheme):
    assert address_of(f"{scheme}://a/b/") == address_of(Path(f"{scheme}://a/b")) == f"{scheme}://a/b"


@pytest.mark.parametrize("path", ["data", "/data", "./hf", "C:/data", "hf", "ftp://a/b"])
def test_other_paths_are_of_this_machine(path):
    assert address_of(path) is None


def test_secrets_are_not_shown():
    text = f"https://me:se@cret@host/a?X-Amz-Signature=abc 401 hf_{'abcDEF1' * 5} https://token@host/b hf://datasets/a/b@v1"
    assert without_secrets(text) == "https://…host/a… 401 … https://…host/b hf://datasets/a/b@v1"


@pytest.mark.parametrize("address", ["https://me:secret@127.0.0.1:9/a", "https://127.0.0.1:9/a?sig=secret"])
def test_addresses_with_secrets_are_refused_and_the_secrets_not_shown(address, hub):
    with pytest.raises(InputError, match="passwords, tokens and queries in addresses are not taken") as refused:
        Dataset(address)
    assert "secret" not in str(refused.value)


def test_nothing_is_written_to_an_address(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["dataset", "merge", "https://127.0.0.1:9/out", "data"])
    assert ended.value.code == 2
    assert "out: https://127.0.0.1:9/out is elsewhere; expected a path of this machine" in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_copy_of_games_elsewhere_is_sound_though_the_cache_is_not(served, folder, tmp_path):
    batches(Dataset(served))
    cache = Path(os.environ["STRATHACK_CACHE"]) / "blocks"
    for path in cache.glob("*/*/*"):
        content = bytearray(path.read_bytes())
        content[len(content) // 3] ^= 1
        path.write_bytes(content)
    assert main(["dataset", "merge", str(tmp_path / "merged"), served, "--quiet"]) == 0
    assert main(["dataset", "verify", str(tmp_path / "merged")]) == 0
