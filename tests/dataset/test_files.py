import resource
import subprocess
import sys

import pytest

from strathack.dataset.errors import InputError
from strathack.dataset.files import atomic_write, folder_lock, remove_temporary_files


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "file"
    atomic_write(path, b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            atomic_write(path, bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_writer_left_is_removed(tmp_path):
    (tmp_path / ".tmp-game_1.h5").write_bytes(b"half")
    (tmp_path / "game_2.h5").write_bytes(b"whole")
    remove_temporary_files(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["game_2.h5"]


def test_a_folder_has_one_writer_and_its_lock_falls_with_it(tmp_path):
    hold = f"""if True:
        from pathlib import Path
        from strathack.dataset.files import folder_lock
        with folder_lock(Path({str(tmp_path)!r})):
            print("held", flush=True)
            input()
    """
    other = subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout.readline() == b"held\n"
    with pytest.raises(InputError, match="another process is writing to it"), folder_lock(tmp_path):
        pass
    other.kill()
    other.communicate()
    with folder_lock(tmp_path):
        pass
    assert not list(tmp_path.iterdir())
