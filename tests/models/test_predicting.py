import numpy as np
import pandas as pd
import pytest
import torch
from made_up_games import write_games
from shrinking import SHRUNK

from strathack.dataset import Dataset
from strathack.dataset.errors import InputError
from strathack.models.losses import action_table
from strathack.models.policy import Policy
from strathack.models.predicting import BELIEF, predictions

KEYS = ("tty_chars", "tty_colors", "tty_cursor", "blstats")


@pytest.fixture
def dataset(tmp_path):
    write_games(tmp_path / "data", [70, 0, 33], keys=KEYS)
    return Dataset(tmp_path / "data")


@pytest.mark.parametrize("name", ["symbols-small", "lstm"])
def test_predictions_are_those_of_a_plain_loop(dataset, name):
    policy = Policy(SHRUNK[name]).eval()
    told = predictions(policy, dataset, unroll=16)
    assert told["game"].value_counts().to_dict() == {"game_0": 70, "game_2": 33}
    table = action_table(policy.config.actions)
    for game in dataset:
        rows, state, previous = told[told["game"] == game.name], policy.initial_state(1), 255
        for step, (_, row) in enumerate(rows.iterrows()):
            inputs = {key: torch.from_numpy(np.asarray(game.obs[key][step]))[None] for key in KEYS}
            inputs |= {
                "first": torch.tensor([step == 0]),
                "previous_action": torch.tensor([previous], dtype=torch.uint8),
            }
            with torch.no_grad():
                output, state = policy.step(inputs, state)
            previous = int(game.actions[step])
            log_probs = output.action_logits[0].log_softmax(-1)
            assert row["nll"] == pytest.approx(-float(log_probs[table[previous]]), abs=1e-4)
            assert row["likely"] == policy.config.actions[int(log_probs.argmax())]
            assert row["action"] == game.action_names(slice(step, step + 1))[0]
            assert row["strategy"] == game.strategy.names(slice(step, step + 1))[0]
            if output.strategy_logits is not None:
                beliefs = [row[f"{BELIEF}{strategy}"] for strategy in policy.config.strategies]
                assert beliefs == pytest.approx(output.strategy_logits[0].softmax(-1).tolist(), abs=1e-5)
    assert any(column.startswith(BELIEF) for column in told) == (name == "symbols-small")


def test_of_sampled_strategies_the_marginal_is_told(dataset):
    mixture = Policy(SHRUNK["symbols-small"]).eval()
    sampled = Policy(mixture.config.changed(["heads.combine=sampled"])).eval()
    sampled.load_state_dict(mixture.state_dict())
    one, other = (predictions(policy, dataset, unroll=16) for policy in (mixture, sampled))
    pd.testing.assert_frame_equal(one, other)


def test_the_first_steps_alone(dataset):
    told = predictions(Policy(SHRUNK["symbols-small"]).eval(), dataset.take([0]), steps=20, unroll=16)
    assert told["step"].tolist() == list(range(20))


def test_games_without_steps_are_refused(dataset):
    with pytest.raises(InputError, match="predictions: the games have no steps"):
        predictions(Policy(SHRUNK["symbols-small"]), dataset.take([1]))
