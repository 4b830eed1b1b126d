import os
import subprocess
import sys
from datetime import datetime
from types import SimpleNamespace

import pytest

from strathack.collect.playing import clock
from strathack.collect.playing.clock import Clock
from strathack.dataset.errors import InputError, RunError


def test_an_instant_is_utc_whatever_zone_it_names():
    assert str(Clock.parse("2023-10-23T12:00:00")) == "2023-10-23T12:00:00"
    assert str(Clock.parse("2023-10-23T14:00:00+02:00")) == "2023-10-23T12:00:00"
    assert str(Clock.parse("2023-10-23T12:00:00Z")) == "2023-10-23T12:00:00"
    assert Clock.parse("2023-10-23") == Clock("held", datetime(2023, 10, 23))
    assert [str(Clock.parse(text)) for text in ("seed", "system")] == ["seed", "system"]


def test_other_text_is_refused():
    with pytest.raises(InputError, match="'yesterday' is neither an instant like .* nor 'seed' nor 'system'"):
        Clock.parse("yesterday")


def test_only_a_held_clock_needs_an_environment():
    assert Clock("system").environment() == Clock("seed").environment() == {}
    assert Clock("seed").fixes_moon_phase
    assert not Clock("system").fixes_moon_phase


linux = pytest.mark.skipif(sys.platform != "linux", reason="libfaketime is held in Linux processes only")


@linux
def test_a_process_under_the_environment_sees_the_instant_and_a_running_monotonic_clock():
    held = Clock.parse("2024-02-29T23:59:58")
    code = (
        "import time\n"
        "from strathack.collect.playing.clock import Clock, release_shared_memory\n"
        "release_shared_memory()\n"
        "m = time.monotonic(); time.sleep(0.2); assert time.monotonic() - m >= 0.2\n"
        "assert Clock.parse('2024-02-29T23:59:58').is_running()\n"
        "print(time.strftime('%Y-%m-%d %H:%M:%S'))"
    )
    environment = {**os.environ, **held.environment()}
    out = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "2024-02-29 23:59:58"
    assert not held.is_running()


@linux
def test_a_restarted_process_still_knows_the_real_time():
    code = (
        "from strathack.collect.playing.clock import Clock, real_time, restart_under\n"
        "clock = Clock.parse('2024-02-29')\n"
        "if not clock.is_running(): restart_under(clock)\n"
        "print(real_time().isoformat())"
    )
    before = datetime.now().astimezone()
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    real = datetime.fromisoformat(out.stdout.strip())
    assert abs((real - before).total_seconds()) < 60


@linux
def test_two_libraries_to_preload_are_one_if_they_are_the_same(monkeypatch):
    library = str(clock.find_library())
    monkeypatch.setenv("LD_PRELOAD", "/lib/other.so")
    assert Clock.parse("2024-01-01").environment()["LD_PRELOAD"] == f"{library}:/lib/other.so"
    monkeypatch.setenv("LD_PRELOAD", library)
    assert Clock.parse("2024-01-01").environment()["LD_PRELOAD"] == library


def test_a_library_that_the_loader_cannot_be_told_of_is_refused(monkeypatch, tmp_path):
    folder = tmp_path / "My Projects" / "libfaketime"
    library = folder.joinpath(*clock._LIBRARY)
    library.parent.mkdir(parents=True)
    library.touch()
    spec = SimpleNamespace(origin=str(folder / "__init__.py"))
    monkeypatch.setattr(clock.importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(InputError, match="at a path without spaces and colons, but it is .*My Projects.*--clock seed"):
        Clock.parse("2024-01-01").environment()


@linux
def test_a_process_that_cannot_see_the_clock_is_restarted_once_alone(monkeypatch):
    held = Clock.parse("2024-01-01")
    monkeypatch.setattr(clock, "_is_ours", lambda: True)
    restarted = []
    monkeypatch.setattr(clock, "restart_under", restarted.append)
    clock.hold_here(held)
    assert restarted == [held]
    for name, value in held.environment().items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RunError, match="does not see 2024-01-01T00:00:00, though it was started under libfaketime"):
        clock.hold_here(held)


def test_without_the_library_the_error_names_the_other_clocks(monkeypatch):
    monkeypatch.setattr(clock.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="needs libfaketime.*--clock seed .* or --clock system"):
        Clock.parse("2024-01-01").environment()
