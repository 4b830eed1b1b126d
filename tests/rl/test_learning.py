"""That it learns: minutes each, run by ``make slow``."""

from __future__ import annotations

from pathlib import Path

import pytest

from strathack.rl.config import APPOConfig
from strathack.rl.finetuning import finetune
from strathack.rl.options import FinetuneConfig

CROP = "encoder.crop=3; encoder.crop_units=16; encoder.screen_units=0; encoder.message=8; encoder.size=32"
# With the previous action a policy could carry the cue along in what it does.
BLIND_TO_ITSELF = f"heads.kind=flat; {CROP}; encoder.previous_action=0"
TRANSFORMER = "core.kind=transformer; core.layers=1; core.heads=2; core.width=32; core.feedforward=64; core.dropout=0.0"
CORES = {
    "lstm": "core.hidden=32",
    "transformer": f"{TRANSFORMER}; core.context=8",
    "memoryless": f"{TRANSFORMER}; core.context=1",
}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("core", CORES)
def test_a_cue_is_remembered_by_policies_with_a_memory_alone(core: str, seed: int, tmp_path: Path) -> None:
    appo = APPOConfig(unroll=16, batch=16, passes=2, learning_rate=3e-3, entropy=0.01)
    recent = finetune(
        FinetuneConfig(
            out=tmp_path / "run", env="tasks:Recall", set=f"{BLIND_TO_ITSELF}; {CORES[core]}", actors=0, envs=16,
            frames=150_000, appo=appo, seed=seed, quiet=True,
        )
    ).counters.recent()  # fmt: skip
    # Games are worth 1 or −1: of a hundred, chance gives 0 ± 0.1.
    if core == "memoryless":
        assert abs(recent["return/mean"]) < 0.4
    else:
        assert recent["return/mean"] > 0.9
