"""What a pool makes of what Ray tells it; pools of real workers are in test_ray.py."""

import time
from types import SimpleNamespace

import pytest

from strathack.collect.running.pools import Failed, Finished, RayPool


class Cluster:
    """A Ray of three workers, two of which are done with their jobs."""

    def __init__(self):
        self.done = ["first", "second"]
        self.killed = []

    def wait(self, references, num_returns, timeout, fetch_local=True):
        ready = [one for one in references if one in self.done][:num_returns]
        return ready, [one for one in references if one not in ready]

    def get(self, reference):
        return f"game of {reference}"

    def kill(self, actor):
        self.killed.append(actor)


@pytest.fixture
def pool():
    pool = RayPool.__new__(RayPool)
    pool._ray, pool._max_seconds, pool._idle, pool._starting = Cluster(), 10.0, [], {}
    pool._ray.exceptions = SimpleNamespace(RayTaskError=LookupError, RayError=LookupError)
    pool._start_worker = lambda: None
    late = time.monotonic() - 1
    pool._busy = {
        name: (SimpleNamespace(actor=f"{name}'s", place="here"), name, late) for name in ("first", "second", "third")
    }
    return pool


def test_a_job_that_is_done_is_kept_however_late_it_is_asked_for(pool):
    assert pool.poll() == [
        Finished("first", "game of first"),
        Failed("third", "hung: no end within 10 seconds, its worker (here) was killed"),
    ]
    assert pool.poll() == [Finished("second", "game of second")]
    assert pool._ray.killed == ["third's"]
