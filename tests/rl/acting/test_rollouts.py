from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from shrinking import SHRUNK, made_up_inputs
from tasks import KEYS
from torch import Tensor

from strathack.models.acting import Act, ActingConfig, log_prob_of
from strathack.models.cores import State
from strathack.models.heads import PolicyOutput
from strathack.models.policy import Policy
from strathack.rl.acting.inference import InferencePolicy
from strathack.rl.acting.rollouts import Rollouts, Unroll
from strathack.rl.acting.serving import WorkerSpec
from strathack.rl.acting.workers import RolloutWorkers, ThreadLauncher
from strathack.rl.config import GameConfig, RewardConfig
from strathack.rl.environments.stepping import LaneSpec
from strathack.rl.learning.batches import assembled
from strathack.rl.learning.learner import freeze
from strathack.rl.learning.rewards import Rewards

STEPS, LANES = 5, 3


def unrolls(chooser: object, env: str, count: int, game: GameConfig | None = None, wait: float = 0) -> list[Unroll]:
    """The first unrolls of two groups, copied and released."""
    spec = WorkerSpec(LaneSpec(env, game or GameConfig(), KEYS, (0,)), groups=2, envs=LANES, steps=STEPS, slots=2)
    workers = RolloutWorkers(spec, 1, ThreadLauncher(), 30)
    rollouts = Rollouts(workers, chooser)
    rollouts.start()
    try:
        taken = []
        for _ in range(count):
            time.sleep(wait)
            unroll = rollouts.get(timeout=30)
            arrays = {name: array.copy() for name, array in unroll.arrays.items()}
            taken.append(Unroll(unroll.index, unroll.begins, arrays, unroll.acts, unroll.state, lambda: None))
            unroll.release()
        return taken
    finally:
        rollouts.stop()
        workers.close()


class Counting:
    """Counts the frames of each lane in its state, and acts by that count."""

    device = torch.device("cpu")

    def refresh(self) -> int:
        return 7

    def initial_state(self, lanes: int) -> State:
        return {"count": torch.zeros(lanes, dtype=torch.long)}

    def act(self, inputs: Mapping[str, Tensor], state: State, uniforms: Tensor | None = None) -> tuple[Act, State]:
        count = state["count"]
        output = PolicyOutput(torch.zeros(len(count), 2), count.float())
        return Act(count % 2, None, -count.float(), None, output), {"count": count + 1}


def test_unrolls_of_a_slice_follow_each_other_without_a_gap(nothing_left: None) -> None:
    for wait in (0, 0.05):
        taken = unrolls(Counting(), "tasks:Recall", 8, wait=wait)
        assert {unroll.index for unroll in taken} == {0, 1}
        for index in (0, 1):
            own = [unroll for unroll in taken if unroll.index == index]
            assert [unroll.begins for unroll in own] == [True] + [False] * (len(own) - 1)
            for number, unroll in enumerate(own):
                at = np.arange(number * STEPS, (number + 1) * STEPS)
                assert (unroll.acts["value"] == at[:, None]).all()
                assert (unroll.arrays["actions"][:-1] == at[:, None] % 2).all()
                assert (unroll.acts["log_prob"] == -at[:, None]).all()
                assert (unroll.acts["version"] == 7).all()
                assert (unroll.state["count"] == at[0]).all()
                # Recall shows the game's step, and its games have six.
                assert (unroll.arrays["blstats"][:, :, 20] == np.append(at, at[-1] + 1)[:, None] % 6).all()
                assert (unroll.arrays["first"] == (unroll.arrays["blstats"][:, :, 20] == 0)).all()


def test_a_learner_finds_the_probabilities_with_which_was_acted(nothing_left: None) -> None:
    torch.manual_seed(0)
    for hold in (0, 3):
        policy = Policy(SHRUNK["symbols-small"])
        taken = unrolls(
            InferencePolicy(policy, ActingConfig(min_strategy_steps=hold)),
            "NetHackScore-v0",
            4,
            GameConfig(max_steps=7),
        )
        for unroll in taken:
            batch = assembled([unroll], Rewards(RewardConfig(), 0.99), torch.device("cpu"))
            output, _ = policy.unroll(batch.inputs, batch.state)
            held = (batch.strategy, batch.chose) if hold else ()
            found = log_prob_of(output.at(slice(0, STEPS)), batch.actions, *held)
            torch.testing.assert_close(found, batch.log_prob, atol=1e-4, rtol=0)
            torch.testing.assert_close(output.value[:-1], batch.value, atol=1e-4, rtol=0)
        assert not all(unroll.arrays["acted"].all() for unroll in taken), "games were cut"


def test_weights_are_taken_over_when_they_have_changed() -> None:
    policy = Policy(SHRUNK["symbols-small"])
    inference = InferencePolicy(policy, ActingConfig())
    assert inference.refresh() == 0
    with torch.no_grad(), inference.updating(1):
        for parameter in policy.parameters():
            parameter.add_(1)
    assert inference.refresh() == 1
    for mine, theirs in zip(inference._copy.parameters(), policy.parameters(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("frozen", [(), ("encoder",), ("encoder", "actions")])
def test_acting_is_by_the_newest_weights_whatever_was_seen_before(frozen: tuple[str, ...]) -> None:
    policy = Policy(SHRUNK["symbols-events"]).eval()
    freeze(policy, frozen)
    inference = InferencePolicy(policy, ActingConfig())
    inputs = made_up_inputs(np.random.default_rng(0), 1, 4, np.ones((1, 4), dtype=bool))
    frame = {name: values[0] for name, values in inputs.items()}
    before, _ = inference.act(frame, inference.initial_state(4))
    with torch.no_grad(), inference.updating(1):
        for parameter in policy.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1)
    inference.refresh()
    after, _ = inference.act(frame, inference.initial_state(4))
    expected, _ = policy.step(frame, policy.initial_state(4))
    torch.testing.assert_close(after.output.action_logits, expected.action_logits, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(before.output.action_logits, after.output.action_logits, atol=1e-3)
