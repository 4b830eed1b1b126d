import random
from pathlib import Path

import fsspec
import pytest
from hub import READER, WRITER
from huggingface_hub import HfApi, HfFileSystem, errors, snapshot_download

NAME = "me/games"
DATA = "/resolve/[^/]+/data/large.h5"
PARTS = "^/lfs/[0-9a-f]+/"


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "local"
    (made / "data").mkdir(parents=True)
    (made / "data" / "large.h5").write_bytes(random.Random(1).randbytes(12_000_000))
    (made / "README.md").write_text("# Games\n")
    (made / "data" / "index.json").write_text('{"games": 1}\n')
    return made


@pytest.fixture
def api(hub):
    return HfApi(endpoint=hub.url, token=WRITER)


@pytest.fixture
def pushed(api, folder):
    api.create_repo(NAME, repo_type="dataset")
    return api.upload_folder(repo_id=NAME, folder_path=folder, repo_type="dataset").oid


def test_what_is_pushed_is_listed_and_read(hub, api, folder, pushed, tmp_path):
    large = (folder / "data" / "large.h5").read_bytes()
    files = ["README.md", "data/index.json", "data/large.h5"]
    assert [name for name in api.list_repo_files(NAME, repo_type="dataset") if not name.startswith(".")] == files
    listed = {item.path: item for item in api.list_repo_tree(NAME, recursive=True, expand=True, repo_type="dataset")}
    assert listed["data/large.h5"].lfs.size == listed["data/large.h5"].size == len(large)
    assert listed["data"].last_commit.oid == pushed
    assert [item.path for item in api.get_paths_info(NAME, ["data", "none"], repo_type="dataset")] == ["data"]
    assert hub.bytes_received(PARTS) == len(large)
    assert max(request.received for request in hub.requests) == hub.part_size

    local = Path(snapshot_download(NAME, repo_type="dataset", cache_dir=tmp_path / "cache"))
    assert all((local / name).read_bytes() == (folder / name).read_bytes() for name in files)

    before = hub.bytes_sent(DATA)
    path = f"datasets/{NAME}@{pushed}/data/large.h5"
    files = HfFileSystem(skip_instance_cache=True)
    assert files.info(path)["size"] == len(large)
    with files.open(path, block_size=1000, cache_type="none") as file:
        file.seek(5_000_000)
        assert file.read(100) == large[5_000_000:5_000_100]
    assert hub.bytes_sent(DATA) - before == 100
    assert hub.requests[-1].range == "bytes=5000000-5000099"
    assert files.cat_file(path, start=10, end=20) == large[10:20]


def test_old_revisions_stay(hub, api, folder, pushed):
    api.create_tag(NAME, tag="v1", repo_type="dataset")
    api.create_branch(NAME, branch="wip", repo_type="dataset")
    (folder / "README.md").write_text("# More\n")
    sent = hub.bytes_received(PARTS)
    later = api.upload_folder(repo_id=NAME, folder_path=folder, repo_type="dataset", delete_patterns="*.json").oid
    assert hub.bytes_received(PARTS) == sent
    assert later != pushed
    shas = {name: api.dataset_info(NAME, revision=name).sha for name in ("main", "v1", "wip", pushed)}
    assert shas == {"main": later, "v1": pushed, "wip": pushed, pushed: pushed}
    files = HfFileSystem(skip_instance_cache=True)
    assert files.cat_file(f"datasets/{NAME}@v1/README.md") == b"# Games\n"
    assert files.cat_file(f"datasets/{NAME}/README.md") == b"# More\n"
    assert api.file_exists(NAME, "data/index.json", repo_type="dataset", revision="v1")
    assert api.file_exists(NAME, "data/index.json", repo_type="dataset", revision="wip")
    assert {ref.name for ref in api.list_repo_refs(NAME, repo_type="dataset").branches} == {"main", "wip"}


def test_transfers_go_on_after_a_cut(hub, api, folder, tmp_path):
    hub.faults.cut_after(PARTS, 1_000_000)
    api.create_repo(NAME)
    api.upload_folder(repo_id=NAME, folder_path=folder)
    large = (folder / "data" / "large.h5").read_bytes()
    assert len(large) + 1_000_000 <= hub.bytes_received(PARTS) < len(large) + 1_100_000

    hub.faults.cut_after("large", 11_000_000)
    local = api.hf_hub_download(NAME, "data/large.h5", cache_dir=tmp_path / "cache")
    assert Path(local).read_bytes() == large
    assert [request.range for request in hub.requests if request.method == "GET"][-1].startswith("bytes=")


def test_the_usual_exceptions_are_raised(hub, api, pushed):
    for token, status in ((False, 401), ("hf_wrong", 401), (READER, 403)):
        with pytest.raises(errors.HfHubHTTPError) as refused:
            api.upload_file(path_or_fileobj=b"", path_in_repo="a", repo_id=NAME, repo_type="dataset", token=token)
        assert refused.value.response.status_code == status
    assert api.whoami(token=READER)["auth"]["accessToken"]["role"] == "read"
    api.auth_check(NAME, repo_type="dataset", token=READER)
    with pytest.raises(errors.RevisionNotFoundError):
        api.dataset_info(NAME, revision="none")
    with pytest.raises(errors.EntryNotFoundError):
        api.hf_hub_download(NAME, "none", repo_type="dataset")
    for token in (False, READER):
        with pytest.raises(errors.RepositoryNotFoundError):
            api.dataset_info("me/none", token=token)
    with pytest.raises(errors.HfHubHTTPError):
        api.create_repo(NAME, repo_type="dataset")
    assert api.create_repo(NAME, repo_type="dataset", exist_ok=True).repo_id == NAME
    hub.faults.fail("/api/datasets/", 404, method="GET")
    with pytest.raises(errors.HfHubHTTPError):
        api.dataset_info(NAME)
    hub.faults.down = True
    with pytest.raises(Exception, match="disconnected"):
        api.dataset_info(NAME)
    assert hub.requests[-1].status == 0


def test_a_plain_folder_is_served(hub):
    (hub.plain / "a folder").mkdir()
    (hub.plain / "a folder" / "data.bin").write_bytes(bytes(range(100)))
    files = fsspec.filesystem("http", skip_instance_cache=True)
    assert [item["name"] for item in files.ls(f"{hub.url}/plain")] == [f"{hub.url}/plain/a%20folder/"]
    (path,) = files.ls(f"{hub.url}/plain/a%20folder/", detail=False)
    assert files.info(path)["size"] == 100
    assert files.cat_file(path, start=5, end=8) == b"\x05\x06\x07"
    hub.faults.corrupt("data.bin")
    assert sum(a != b for a, b in zip(files.cat_file(path), range(100), strict=True)) == 1
