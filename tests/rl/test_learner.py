from __future__ import annotations

import os
import sys
import threading

import pytest
import torch

from strathack.rl.learner import LEARNING_NICENESS, learning_thread


@pytest.mark.skipif(sys.platform != "linux", reason="threads are as nice as their process elsewhere")
def test_learning_gives_way_and_nobody_else_does() -> None:
    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    own, threads = niceness(), torch.get_num_threads()
    with learning_thread(torch.device("cpu"), 3) as learning:
        assert learning.submit(niceness).result() == min(own + LEARNING_NICENESS, 19)
        assert learning.submit(torch.get_num_threads).result() == 3
    assert niceness() == own
    torch.set_num_threads(threads)


def test_what_goes_wrong_in_learning_is_raised_where_it_is_waited_for() -> None:
    with learning_thread(torch.device("cpu"), 1) as learning, pytest.raises(ZeroDivisionError):
        learning.submit(lambda: 1 / 0).result()
