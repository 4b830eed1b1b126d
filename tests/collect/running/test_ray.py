"""Many games on real Ray clusters, and everything that may die in one."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from looking import BOTS, read_dataset, same_games, wait_for

WANDERER = ("--demonstrator", BOTS / "wanderer", "--max-steps", 150, "--quiet")
SLEEPER = ("--demonstrator", BOTS / "sleeper", "--max-steps", 400, "--quiet")  # four seconds a game

pytestmark = pytest.mark.usefixtures("nothing_left")


def players():
    """Ray workers in the middle of a game that these tests have started."""
    return workers_below(os.getpid())


def workers_below(process):
    """Ray workers in the middle of a game, below a process."""
    found = []
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if child.name().startswith("ray::_Worker.wo"):
                    found.append(child)
    return found


def workers_of(process):
    """Ray workers in the middle of a game, below a driver."""
    return workers_below(process.pid)


def wait_for_workers(process, count):
    wait_for(lambda: len(workers_of(process)) == count or process.poll() is not None)
    assert process.poll() is None, process.communicate()
    return workers_of(process)


@pytest.mark.slow
def test_no_worker_one_worker_and_two_play_the_same_games(run, tmp_path):
    games = []
    for workers in (0, 1, 2):
        ended = run("collect", tmp_path / str(workers), "--seeds", "0:5", *WANDERER, "--workers", workers)
        assert ended.status == 0, ended.err
        assert "5 games, 750 steps" in ended.out
        games.append(read_dataset(tmp_path / str(workers)))
        assert {game["row"]["start_time"] for game in games[-1].values()} == {1698062400}
    assert same_games(games[0], games[1])
    assert same_games(games[0], games[2])


@pytest.mark.slow
def test_a_killed_worker_costs_one_try(start, tmp_path):
    process = start("collect", tmp_path / "data", "--seeds", "0:4", *SLEEPER, "--workers", 2)
    wait_for_workers(process, 2)[0].kill()
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert err.count("its worker died (process ") == 1
    assert err.count("trying again") == 1
    assert set(read_dataset(tmp_path / "data")) == set(range(4))
    assert not (tmp_path / "data" / "failures.json").exists()


@pytest.mark.slow
def test_a_seed_whose_worker_hangs_is_given_up_and_listed_and_may_be_tried_later(run, tmp_path):
    folder, stuck = tmp_path / "bot", tmp_path / "stuck"
    folder.mkdir()
    stuck.touch()
    sleeper = (BOTS / "sleeper" / "bot.py").read_text()
    seconds = f"10_000 if __import__('os').path.exists({str(stuck)!r}) else 0.01"
    (folder / "bot.py").write_text(sleeper.replace("0.01", seconds))
    words = ("collect", tmp_path / "data", "--seeds", 7, "--demonstrator", folder, "--quiet", "--workers", 1)
    words = (*words, "--max-seconds", 1, "--retries", 1)
    ended = run(*words)
    reason = "hung: no end within 1 seconds, its worker (process "
    assert ended.status == 1
    assert ended.err.count(reason) == 2
    assert "trying again" in ended.err
    assert "given up" in ended.err
    assert f"not played: game_7: {reason}" in ended.out
    assert reason in (tmp_path / "data" / "failures.json").read_text()
    assert read_dataset(tmp_path / "data") == {}
    # The same command tries it again; once nothing holds the bot up, it plays, and it is no failure any more.
    stuck.unlink()
    ended = run(*words)
    assert ended.status == 0, ended.err
    assert set(read_dataset(tmp_path / "data")) == {7}
    assert not (tmp_path / "data" / "failures.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("workers_too", [False, True])
def test_a_killed_driver_loses_the_running_games_only(start, run, tmp_path, workers_too):
    words = ("collect", tmp_path / "data", "--seeds", "0:4", *SLEEPER, "--workers", 2)
    process = start(*words)
    wait_for((tmp_path / "data" / "game_1.h5").exists)
    victims = wait_for_workers(process, 2) if workers_too else []
    for victim in [psutil.Process(process.pid), *victims]:
        victim.kill()
    process.communicate()
    kept = {p.name: p.read_bytes() for p in (tmp_path / "data").glob("*.h5")}
    assert "game_1.h5" in kept
    assert set(read_dataset(tmp_path / "data")) < set(range(4))
    if not workers_too:
        ended = run(*words)
        assert ended.status == 0, ended.err
        assert set(read_dataset(tmp_path / "data")) == set(range(4))


@pytest.mark.slow
def test_one_ctrl_c_stops_and_two_stop_at_once(start, tmp_path):
    for signals in (1, 2):
        process = start("collect", tmp_path / "data", "--seeds", "0:4", *SLEEPER, "--workers", 2)
        wait_for_workers(process, 2)
        for _ in range(signals):
            os.killpg(process.pid, signal.SIGINT)  # the whole group gets it, as in a terminal
            time.sleep(0.5)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 130
        assert ("the same command goes on from here" in err) == (signals == 1)
        assert set(read_dataset(tmp_path / "data")) < set(range(4))


@pytest.mark.slow
def test_a_full_disk_stops_the_run_and_its_workers(run, small_disk):
    (small_disk / "filler").write_bytes(bytes(240 << 10))
    ended = run("collect", small_disk / "data", "--seeds", "0:4", *WANDERER, "--workers", 2)
    assert ended.status == 1
    assert "cannot be written (No space left on device)" in ended.err.splitlines()[-1], "games that fit come before"
    assert set(read_dataset(small_disk / "data")) < set(range(4))


@pytest.mark.slow
def test_a_bot_that_cannot_be_imported_stops_the_run_before_anything_is_written(run, tmp_path):
    (tmp_path / "bot.py").write_text("import nowhere_to_be_found\ndef make_agent(): ...")
    ended = run("collect", tmp_path / "data", "--seeds", "0:4", "--demonstrator", tmp_path, "--workers", 1)
    assert ended.status == 1
    assert "a worker could not be started: ModuleNotFoundError" in ended.error
    assert not (tmp_path / "data").exists()


@pytest.mark.slow
def test_a_node_that_leaves_in_mid_run(start, tmp_path):
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    with Path(os.devnull).open("w"):
        cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        second = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        words = ("collect", tmp_path / "data", "--seeds", "0:4", *SLEEPER, "--workers", 2)
        process = start(*words, "--address", cluster.address)
        raylet = second.all_processes["raylet"][0].process.pid
        wait_for(lambda: workers_below(raylet) or process.poll() is not None)
        assert process.poll() is None, process.communicate()
        cluster.remove_node(second)
        _, err = process.communicate(timeout=180)
        assert process.returncode == 0, err
        assert "its worker died" in err
        assert set(read_dataset(tmp_path / "data")) == set(range(4))
        # The cluster is not ours: it must still be there.
        assert cluster.head_node.any_processes_alive()
    finally:
        cluster.shutdown()
