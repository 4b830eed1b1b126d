"""The command, played in one process: resuming, extending, refusing, failing to write."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from looking import BOTS, read_dataset, same_games, wait_for

from strathack.cli import main
from strathack.collect.demonstrators.acting import check_bot
from strathack.dataset.errors import InputError

WANDERER = ("--demonstrator", BOTS / "wanderer", "--clock", "seed", "--max-steps", 150)
HERE = ("--workers", 0, "--quiet")

pytestmark = pytest.mark.usefixtures("nothing_left")


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()} if folder.exists() else None


def test_games_are_collected_merged_and_summed_up(run, tmp_path):
    out = tmp_path / "data"
    ended = run("collect", out, "--seeds", "0:5", *WANDERER, *HERE, "--games-per-shard", 2)
    assert ended.status == 0, ended.err
    assert "5/5 seed 4 Kni 150 steps score" in ended.err
    assert "5 games, 750 steps" in ended.out
    assert "ends: step_limit 5" in ended.out
    assert "bytes a step" in ended.out
    assert "wander" in ended.out
    assert sorted(p.name for p in out.iterdir()) == ["dataset.json", *(f"shard-0000{i}.h5" for i in range(3))]
    assert set(read_dataset(out)) == set(range(5))
    settings = json.loads((out / "dataset.json").read_text())["settings"]
    assert settings["seeds"] == "0:5"
    assert settings["clock"] == "seed"


def test_the_same_command_again_plays_what_is_missing(run_here, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run_here("collect", whole, "--seeds", "0:6", *WANDERER, *HERE)
    run_here("collect", parts, "--seeds", "0:6", *WANDERER, *HERE, "--games-per-shard", 1)
    for seed in (1, 4):
        (parts / f"game_{seed}.h5").unlink()
    (parts / ".tmp-game_1.h5").write_bytes(b"half a game of a killed run")
    kept = contents(parts)["game_2.h5"]
    ended = run_here("collect", parts, "--seeds", "0:6", *WANDERER, *HERE, "--games-per-shard", 1)
    assert [line.split(" ")[2] for line in ended.err.splitlines()] == ["1", "4"]
    assert contents(parts)["game_2.h5"] == kept
    assert not (parts / ".tmp-game_1.h5").exists()
    assert same_games(read_dataset(whole), read_dataset(parts))
    ended = run_here("collect", parts, "--seeds", "0:6", *WANDERER, *HERE)
    assert ended.err == ""
    assert "6 games" in ended.out
    assert (parts / "shard-00000.h5").exists()


def test_seeds_are_added_with_extend_only(run_here, tmp_path):
    out = tmp_path / "data"
    run_here("collect", out, "--seeds", "0:2", *WANDERER, *HERE)
    before = contents(out)
    ended = run_here("collect", out, "--seeds", "1:4,9", *WANDERER, *HERE)
    assert ended.status == 2
    assert ended.error.endswith("was collected for seeds 0:2, without 2:4,9; --extend adds them")
    assert contents(out) == before
    ended = run_here("collect", out, "--seeds", "1:4,9", *WANDERER, *HERE, "--extend")
    assert ended.status == 0
    assert set(read_dataset(out)) == {0, 1, 2, 3, 9}
    assert json.loads((out / "dataset.json").read_text())["settings"]["seeds"] == "0:4,9"


def test_other_settings_are_refused_each_by_name(run_here, tmp_path):
    out = tmp_path / "data"
    run_here("collect", out, "--seeds", 1, *WANDERER, *HERE)
    before = contents(out)
    changed = ("--clock", "system", "--character", "val", "--observations", "blstats", "--max-steps", 20)
    ended = run_here("collect", out, "--seeds", 1, *WANDERER, *HERE, *changed)
    assert ended.status == 2
    for setting in ("clock is 'seed' there and 'system' here", "character is '@'", "observations is", "max_steps is"):
        assert setting in ended.error
    assert "demonstrator" not in ended.error
    assert contents(out) == before


def test_roles_skip_the_seeds_of_others(run_here, tmp_path):
    ended = run_here("collect", tmp_path / "data", "--seeds", "0:6", *WANDERER, *HERE, "--roles", "kni,sam")
    assert "seed 0 skipped: it draws a Pri" in ended.err
    games = read_dataset(tmp_path / "data")
    assert {game["row"]["role"] for game in games.values()} == {b"Kni", b"Sam"}
    assert {1, 4} <= set(games)


def test_a_game_whose_demonstrator_fails_is_kept_and_shown(run_here, tmp_path):
    ended = run_here(
        "collect", tmp_path / "d", "--seeds", "0:2", "--demonstrator", BOTS / "crasher", "--clock", "seed", *HERE
    )
    assert ended.status == 0
    assert "seed 1: the demonstrator failed after 10 steps: KeyError: 'no plan\\nfor this'" in ended.err
    assert "ends: demonstrator_error 2" in ended.out
    assert "demonstrator failed: game_0 after 10 steps: KeyError: 'no plan\\nfor this'" in ended.out
    assert read_dataset(tmp_path / "d")[0]["row"]["steps"] == 10


def test_a_configuration_file_gives_the_same_run(run_here, tmp_path):
    words = ("--seeds", "0:2", *WANDERER, *HERE)
    printed = run_here("collect", tmp_path / "one", *words, "--print_config")
    assert printed.status == 0
    (tmp_path / "config.yaml").write_text(printed.out.replace("/one", "/two"))
    run_here("collect", tmp_path / "one", *words)
    ended = run_here("collect", "--config", tmp_path / "config.yaml", tmp_path / "two")
    assert ended.status == 0, ended.err
    assert same_games(read_dataset(tmp_path / "one"), read_dataset(tmp_path / "two"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--seeds", "5:"), "seeds: '5:' in '5:' is neither a number nor a range"),
        (("--seeds", "a:b"), "seeds: 'a:b'"),
        (("--seeds", "9:3"), "seeds: the range '9:3' is empty"),
        (("--seeds=-4",), "seeds: '-4'"),
        (("--roles", "val,vak"), "roles: unknown role 'vak'; did you mean 'val'?"),
        (("--character", "val-orc"), "character: NetHack has no 'val-orc'"),
        (("--workers=-1",), "workers: -1 is below 0"),
        (("--workers", "many"), 'Parser key "workers"'),
        (("--observations", "tty_char"), "observations: unknown key 'tty_char'; did you mean 'tty_chars'?"),
        (("--address", "127.0.0.1:1"), "address: no Ray cluster at '127.0.0.1:1'"),
        (("--address", "nowhere"), "address: 'nowhere' is neither 'auto' nor host:port"),
        (("--demonstrator", "autoascent"), "demonstrator: 'autoascent' is neither 'autoascend' nor"),
        (("--demonstrator", BOTS), "has no bot.py; expected a folder with bot.py and make_agent()"),
        (("--demonstrator", "no.module:policy"), "demonstrator: cannot import 'no.module'"),
        (("--demonstrator", "os:sepp"), "demonstrator: 'sepp' of 'os:sepp' is not there"),
        (("--demonstrator", "os:sep"), "demonstrator: 'sep' of 'os:sep' is a str, which cannot be called"),
        (("--clock", "noon"), "clock: 'noon' is neither an instant"),
        (("--colour", "red"), "unrecognized arguments: --colour red"),
    ],
)
def test_bad_input_is_one_line_and_changes_nothing(capfd, tmp_path, words, message):
    with pytest.raises(SystemExit) as end:
        main(["collect", str(tmp_path / "data"), *map(str, words)])
    assert end.value.code == 2
    err = capfd.readouterr().err
    assert err.startswith("strathack: error: ")
    assert err.count("\n") == 1
    assert message in err
    assert not list(tmp_path.iterdir())


def test_where_no_cluster_runs_none_is_found(capfd, tmp_path, monkeypatch):
    import ray

    def init(**options):  # as Ray's; it would find the cluster of anybody on this machine
        assert options["address"] == "auto"
        raise ConnectionError("Could not find any running Ray instance.")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(SystemExit) as end:
        main(["collect", str(tmp_path / "data"), "--seeds", "1", "--address", "auto"])
    assert end.value.code == 2
    assert "address: no Ray cluster at 'auto' (Could not find any running" in capfd.readouterr().err


def test_a_bot_without_make_agent_or_of_broken_python_is_refused(run_here, tmp_path):
    for text, message in [("def make(): ...", "does not define make_agent()"), ("def (", "not readable as Python")]:
        (tmp_path / "bot.py").write_text(text)
        ended = run_here("collect", tmp_path / "data", "--demonstrator", tmp_path)
        assert ended.status == 2
        assert message in ended.error
        assert [p.name for p in tmp_path.iterdir()] == ["bot.py"]


@pytest.mark.parametrize(
    "text",
    [
        "try:\n    from fast import make_agent\nexcept ImportError:\n    def make_agent(env): ...\n",
        "make_agent: object = print\n",
        "if True:\n    make_agent = print\n",
    ],
)
def test_a_bot_may_have_make_agent_in_any_way(text, tmp_path):
    (tmp_path / "bot.py").write_text(text)
    check_bot(tmp_path)
    (tmp_path / "bot.py").write_text("def outer():\n    def make_agent(env): ...\n")
    with pytest.raises(InputError, match=r"does not define make_agent\(\)"):
        check_bot(tmp_path)


def test_output_paths_that_cannot_hold_a_dataset_are_refused(run_here, tmp_path):
    file = tmp_path / "file"
    file.write_text("here first")
    other = tmp_path / "other"
    other.mkdir()
    (other / "dataset.json").write_text(json.dumps({"format": "strathack", "version": 99, "settings": {}}))
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.tex").write_text("")
    for path, message in [
        (file, "file: is a file; expected a folder"),
        (file / "below", "file: is a file; expected a folder"),
        (other, "format version 99, this release writes version 1; choose another folder"),
        (full, "is not empty and holds no dataset.json"),
    ]:
        before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
        ended = run_here("collect", path, "--seeds", 1, *WANDERER)
        assert ended.status == 2
        assert message in ended.error
        assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_not_writable_is_refused(run, tmp_path):
    tmp_path.chmod(0o500)
    ended = run("collect", tmp_path / "data", "--seeds", 1, *WANDERER)
    assert ended.status == 2
    assert "is not writable" in ended.error


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user who may not write")
def test_a_folder_that_is_not_writable_is_refused_to_another_user():
    code = (
        "import os; from pathlib import Path; from strathack.dataset.writer import DatasetWriter;"
        "os.setuid(65534); DatasetWriter(Path('/usr/data')).__enter__()"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "InputError: /usr: is not writable" in ended.stderr


def test_a_second_writer_is_refused(run, start, tmp_path):
    slow = ("--demonstrator", BOTS / "sleeper", "--clock", "seed", "--max-steps", 10_000, *HERE)
    first = start("collect", tmp_path / "data", "--seeds", 1, *slow)
    wait_for((tmp_path / "data" / "dataset.json").exists)
    ended = run("collect", tmp_path / "data", "--seeds", 1, *slow)
    assert ended.status == 2
    assert "another process is writing to it" in ended.error
    first.kill()


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_one_signal_drops_the_running_game_and_keeps_the_others(run, start, tmp_path, number, status):
    out = tmp_path / "data"
    slow = ("--demonstrator", BOTS / "sleeper", "--clock", "seed", "--max-steps", 60, *HERE)
    process = start("collect", out, "--seeds", "0:5", *slow)
    wait_for((out / "game_1.h5").exists)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == status
    assert "the same command goes on from here" in err
    kept = set(read_dataset(out))
    assert {0, 1} <= kept < set(range(5))
    ended = run("collect", out, "--seeds", "0:5", *slow)
    assert ended.status == 0
    assert set(read_dataset(out)) == set(range(5))


def test_a_second_signal_ends_it_at_once(start, tmp_path):
    process = start(
        "collect", tmp_path / "data", "--seeds", 1, "--demonstrator", BOTS / "hanger", "--clock", "seed", *HERE
    )
    wait_for((tmp_path / "data" / "dataset.json").exists)
    time.sleep(1.5)  # now it hangs, and no check between steps can see the first signal
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 130


def test_a_full_disk_stops_the_run_with_one_line(run, small_disk):
    out = small_disk / "data"
    words = ("collect", out, "--seeds", "0:6", *WANDERER, *HERE, "--games-per-shard", 6)
    filler = small_disk / "filler"
    # Not even one game fits.
    filler.write_bytes(bytes(252 << 10))
    ended = run(*words)
    assert ended.status == 1
    assert "game_0.h5: cannot be written (No space left on device); every game written before is safe" in ended.error
    assert [p.name for p in out.iterdir()] == ["dataset.json"]
    # The games fit, the merged shard beside them does not.
    filler.write_bytes(bytes(164 << 10))
    ended = run(*words)
    assert ended.status == 1
    assert "shard-00000.h5: cannot be written (No space left on device)" in ended.err.splitlines()[-1]
    assert set(read_dataset(out)) == set(range(6))
    assert sorted(p.name for p in out.iterdir()) == ["dataset.json", *(f"game_{seed}.h5" for seed in range(6))]
    # With room again it goes on.
    filler.unlink()
    assert run(*words).status == 0
    assert sorted(p.name for p in out.iterdir()) == ["dataset.json", "shard-00000.h5"]


def test_a_kill_in_mid_game_leaves_whole_games_only(run, start, tmp_path):
    out = tmp_path / "data"
    slow = ("--demonstrator", BOTS / "sleeper", "--max-steps", 100, *HERE)  # under the held clock
    process = start("collect", out, "--seeds", "0:4", *slow)
    wait_for((out / "game_0.h5").exists)
    process.kill()
    process.communicate()
    assert set(read_dataset(out)) < set(range(4))
    assert run("collect", out, "--seeds", "0:4", *slow).status == 0
    assert set(read_dataset(out)) == set(range(4))


@pytest.mark.parametrize(("written", "seeds"), [("1:3", [1, 2]), ("010", [10]), ("'5'", [5]), ("0:2,7", [0, 1, 7])])
def test_seeds_in_yaml_are_what_they_say(run_here, tmp_path, written, seeds):
    (tmp_path / "config.yaml").write_text(f"seeds: {written}\nmax_steps: 3\nworkers: 0\n")
    ended = run_here("collect", "--config", tmp_path / "config.yaml", tmp_path / "data", *WANDERER[:4], "--quiet")
    assert ended.status == 0, ended.err
    assert sorted(read_dataset(tmp_path / "data")) == seeds


def test_what_is_no_text_in_yaml_is_refused_with_the_way_to_write_it(run_here, tmp_path):
    (tmp_path / "config.yaml").write_text("demonstrator: 5\n")
    ended = run_here("collect", "--config", tmp_path / "config.yaml", tmp_path / "data")
    assert ended.status == 2
    assert "demonstrator: '5'" in ended.error


def test_help_names_types_plainly(run_here):
    assert "<class" not in run_here("collect", "--help").out
