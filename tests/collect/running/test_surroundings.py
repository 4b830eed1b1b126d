"""Where a command runs: under a scheduler, as a container's first process, in another program, without a home."""

import os
import signal
import subprocess
import sys
import textwrap

import psutil
import pytest
from looking import BOTS, wait_for

from strathack.dataset.folder import DatasetFolder
from strathack.dataset.schema import is_replayable

WANDERER = ("--demonstrator", BOTS / "wanderer", "--quiet")
SAID = "interrupted: what is there is valid; the same command goes on from here\n"


@pytest.mark.slow
@pytest.mark.parametrize("when", ["ray starts", "workers start", "playing", "merging"])
def test_a_schedulers_sigterm_ends_a_run_as_ctrl_c_does(start, tmp_path, nothing_left, when):
    seeds = "0:60" if when == "merging" else "0:4000"
    steps = 20 if when == "merging" else 2000
    process = start("collect", tmp_path / "data", "--seeds", seeds, "--max-steps", steps, "--workers", 2,
                    "--games-per-shard", 1 if when != "merging" else 2, *WANDERER)  # fmt: skip
    data = tmp_path / "data"
    if when == "ray starts":
        wait_for(lambda: any("gcs_server" in line for line in commands_below(process.pid)))
    elif when == "workers start":
        wait_for(lambda: any("raylet" in line for line in commands_below(process.pid)))
    elif when == "playing":
        wait_for(lambda: list(data.glob("game_*.h5")))
    else:
        wait_for(lambda: list(data.glob("shard-*.h5")))
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    if when == "merging" and process.returncode == 0:
        pytest.skip("it had merged the last before the signal came")
    assert process.returncode == 143, err
    assert err.endswith(("interrupted\n", SAID) if "start" in when else SAID)
    assert "SIGTERM received" not in err
    assert "Traceback" not in err


def commands_below(process):
    return [child.name() for child in psutil.Process(process).children(recursive=True) if child.is_running()]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs root and namespaces of Linux")
def test_the_first_process_of_a_container_replays_and_plays(start, tmp_path, nothing_left):
    first = ("unshare", "-p", "-f", "--mount-proc")
    if subprocess.run([*first, "true"], capture_output=True).returncode:
        pytest.skip("no namespaces here")

    def run(*words):
        process = start(*words, prefix=first)
        out, err = process.communicate(timeout=200)
        assert process.returncode == 0, err
        return out

    data, keys = tmp_path / "data", tmp_path / "keys"
    run("collect", data, "--seeds", "1,2", "--max-steps", 60, "--workers", 1, *WANDERER)
    assert all(is_replayable(game.row) for game in DatasetFolder(data).games())
    run("dataset", "compact", data, keys, "--quiet")
    assert "2 of 2 games came back" in run("dataset", "verify", keys, "--replay", "--workers", 1, "--quiet")
    run("dataset", "expand", keys, tmp_path / "full", "--workers", 1, "--quiet")
    run("report", keys, "--replay", "--out", tmp_path / "report.html", "--quiet")  # replays in processes of its own


PROGRAM = """
import sys, threading
import ray

ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")

@ray.remote
class Counter:
    def count(self):
        return 7

counter = Counter.options(num_cpus=0).remote()
from strathack.cli import main

words = ["collect", sys.argv[1], "--seeds", "1", "--max-steps", "30", "--quiet", "--demonstrator", sys.argv[2]]
statuses = [main([*words, "--workers", "1"])]
thread = threading.Thread(target=lambda: statuses.append(main([*words, "--seeds", "2", "--extend", "--workers", "1"])))
thread.start()
thread.join()
try:
    main([*words, "--seeds", "3", "--extend", "--address", "auto"])
except SystemExit as ended:
    statuses.append(ended.code)
print(statuses, ray.get(counter.count.remote()), ray.is_initialized())
"""


@pytest.mark.slow
def test_a_program_that_uses_ray_keeps_it(tmp_path, nothing_left):
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM))
    words = [sys.executable, str(program), str(tmp_path / "data"), str(BOTS / "wanderer")]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=200, start_new_session=True)
    assert ended.stdout.splitlines()[-1] == "[0, 0, 2] 7 True", ended.stderr
    assert "address: this program is connected to a Ray cluster already; leave the address out" in ended.stderr
    assert [game.name for game in DatasetFolder(tmp_path / "data").games()] == ["game_1", "game_2"]


@pytest.mark.slow
def test_a_home_that_cannot_be_written_is_not_needed(run, tmp_path, nothing_left):
    ended = run("collect", tmp_path / "data", "--seeds", "1", "--max-steps", 30, "--workers", 1, *WANDERER,
                env={**os.environ, "HOME": "/proc/nowhere"})  # fmt: skip
    assert ended.status == 0, ended.err


def test_a_program_is_not_started_again_for_its_clock(tmp_path):
    program = "from strathack.cli import main; main(['collect', 'data', '--seeds', '1', '--workers', '0'])"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert ended.returncode == 2
    assert "clock: to be held in this process, the program would be started again; play in processes" in ended.stderr


def test_what_an_encoding_lacks_is_written_as_escapes(run, tmp_path):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    ended = run("collect", tmp_path / "dätä", "--seeds", "1", "--max-steps", 5, "--workers", 0, *WANDERER,
                env=environment)  # fmt: skip
    assert ended.status == 0, ended.err
    assert "d\\xe4t\\xe4" in ended.out
