"""What a process leaves behind is cleaned up however it dies."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from looking import wait_for

from strathack.collect.running.janitor import Scratch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

MASTER = """
import os, subprocess, sys, time
from pathlib import Path
from strathack.collect.running.janitor import Scratch
scratch = Scratch(Path(sys.argv[1]))
held = open(scratch.path / "held", "w")
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"], stdout=held, start_new_session=True)
(scratch.path / "deep" / "er").mkdir(parents=True)
print(child.pid, flush=True)
if sys.argv[2] == "close":
    scratch.close()
    print(scratch.path.exists(), child.wait(), flush=True)
elif sys.argv[2] == "exit":
    os._exit(3)
else:
    time.sleep(1000)
"""


def start(folder, way):
    return subprocess.Popen([sys.executable, "-c", MASTER, str(folder), way], stdout=subprocess.PIPE, text=True)


def alive(pid):
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().split()[2] != "Z"


@pytest.mark.parametrize("way", ["kill", "exit"])
def test_a_death_without_a_word_takes_folder_and_processes_along(tmp_path, way):
    master = start(tmp_path, way)
    child = int(master.stdout.readline())
    assert (way == "exit") or (alive(child) and list(tmp_path.iterdir()))
    if way == "kill":
        master.send_signal(signal.SIGKILL)
    master.wait()
    wait_for(lambda: not alive(child) and not list(tmp_path.iterdir()), 20)


def test_closing_cleans_up_at_once_and_spares_the_master(tmp_path):
    master = start(tmp_path, "close")
    master.stdout.readline()
    assert master.stdout.readline().split() == ["False", str(-signal.SIGKILL)]
    assert master.wait() == 0


def test_shared_memory_of_processes_that_are_gone_is_swept_and_no_other(tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    memory = Path("/dev/shm")
    old, new = memory / f"faketime_shm_{gone.pid}", memory / f"sem.faketime_sem_{gone.pid}"
    living = memory / f"faketime_shm_{os.getpid()}"
    old.write_text("")
    os.utime(old, (1, 1))
    scratch = Scratch(tmp_path)
    new.write_text("")
    living.write_text("")
    try:
        scratch.close()
        assert (old.exists(), new.exists(), living.exists()) == (True, False, True)
    finally:
        for path in (old, new, living):
            path.unlink(missing_ok=True)


def test_processes_that_have_nothing_to_do_with_it_are_spared(tmp_path):
    other = subprocess.Popen(["sleep", "100"])
    scratch = Scratch(tmp_path)
    scratch.close()
    assert other.poll() is None
    other.kill()
    other.wait()
