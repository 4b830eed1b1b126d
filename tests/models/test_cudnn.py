"""That the LSTM of the training tests refuses what cuDNN's refuses."""

import pytest

torch = pytest.importorskip("torch")

from cudnn import refuse_backward_in_evaluation  # noqa: E402

from strathack.models.config import LSTMConfig  # noqa: E402
from strathack.models.cores import LSTMCore  # noqa: E402


@pytest.mark.parametrize("half", [False, True])
def test_an_lstm_in_evaluation_mode_goes_forward_alone(monkeypatch, half):
    refuse_backward_in_evaluation(monkeypatch)
    core, first = LSTMCore(LSTMConfig(8), 8), torch.zeros(3, 2, dtype=torch.bool)
    for training in (True, False):
        core.train(training)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            output, _ = core((torch.zeros(3, 2, 8),), first, core.initial_state(2))
        if training:
            output.sum().backward()
        else:
            with pytest.raises(RuntimeError, match="can only be called in training mode"):
                output.sum().backward()
