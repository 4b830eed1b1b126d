"""That it learns: minutes each, run by ``make slow``."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from strathack.rl.config import ActionNames, APPOConfig, GameConfig, ImitationConfig
from strathack.rl.environments.stepping import EndedGame
from strathack.rl.learning.finetuning import fine_tune
from strathack.rl.learning.progress import Counters
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
    recent = fine_tune(
        FinetuneConfig(
            out=tmp_path / "run", env="tasks:ShortRecall", set=f"{BLIND_TO_ITSELF}; {CORES[core]}", workers=0, envs=16,
            frames=150_000, appo=appo, seed=seed, quiet=True,
        )
    ).counters.recent()  # fmt: skip
    # Games are worth 1 or −1: of a hundred, chance gives 0 ± 0.1.
    if core == "memoryless":
        assert abs(recent["return/mean"]) < 0.4
    else:
        assert recent["return/mean"] > 0.9


def permutation_p(before: list[float], after: list[float], rounds: int = 10_000) -> float:
    """How often a random division of the games into two as large shows as large a rise."""
    rng, both = np.random.default_rng(0), np.array(before + after)
    found = np.mean(after) - np.mean(before)
    rises = 0
    for _ in range(rounds):
        rng.shuffle(both)
        rises += both[len(before) :].mean() - both[: len(before)].mean() >= found
    return (rises + 1) / (rounds + 1)


@pytest.fixture
def returns(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The return of each game that ends while it is asked for, in order."""
    noted: list[float] = []
    add_game = Counters.add_game

    def added(counters: Counters, game: EndedGame) -> None:
        noted.append(game.reward)
        add_game(counters, game)

    monkeypatch.setattr(Counters, "add_game", added)
    return noted


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_exploring_gets_better_in_nethack(seed: int, tmp_path: Path, returns: list[float]) -> None:
    keys = "north,east,south,west,northeast,southeast,southwest,northwest,more,esc"
    values: dict[str, Any] = {
        "env": "NetHackScout-v0", "game": GameConfig(actions=ActionNames.parse(keys), max_steps=300, no_progress=60),
        "set": "heads.kind=flat; core.hidden=128", "appo": APPOConfig(learning_rate=5e-4, entropy=0.01),
    }  # fmt: skip
    fine_tune(FinetuneConfig(out=tmp_path / "run", workers=2, frames=1_000_000, seed=seed, quiet=True, **values))
    assert permutation_p(returns[:200], returns[-200:]) < 0.01


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run that cloned AutoAscend for some minutes, and the games it was cloned from."""
    folder = tmp_path_factory.mktemp("clone")
    run, data = folder / "run", folder / "data"
    for words in (
        f"collect {data} --seeds 100:124 --max-steps 2000 --quiet",
        f"dataset split {data} --train 0.75 --validation 0.25 --test 0 --quiet",
        f"train {data} --out {run} --steps 2500 --lanes 16 --unroll 32 --validate-every 500 --quiet",
    ):
        subprocess.run([sys.executable, "-m", "strathack", *words.split()], check=True, timeout=1500)
    return run, data


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_cloned_skill_is_kept_by_imitation_and_lost_without(
    seed: int, clone: tuple[Path, Path], tmp_path: Path
) -> None:
    run, data = clone
    held_out = ImitationConfig(held_out=data)
    arms: dict[str, dict[str, Any]] = {
        "nothing": {"recipe": "scratch", "imitation": held_out},
        "demos": {"imitation": ImitationConfig(demos=data, demos_lanes=16)},
        "kickstart": {"recipe": "kickstart", "imitation": held_out},
    }
    grown = {}
    for name, values in arms.items():
        fine_tune(
            FinetuneConfig(
                run=[run], out=tmp_path / name, game=GameConfig(max_steps=500), workers=2, frames=100_000, seed=seed,
                appo=APPOConfig(learning_rate=3e-4, critic_warmup=20), validate_every=10**6, quiet=True, **values,
            )
        )  # fmt: skip
        before, after = validation_nlls(tmp_path / name)
        grown[name] = after / before
    # Returns say nothing yet after so few games; the NLL of held-out demonstrations does.
    assert grown["demos"] < 1.05
    assert grown["kickstart"] < 1.05
    assert grown["nothing"] > 1.15


def validation_nlls(run: Path) -> tuple[float, float]:
    """At the beginning and at the end of a run."""
    with (run / "metrics.csv").open(newline="") as file:
        values = [row["validation/action_nll"] for row in csv.DictReader(file)]
    found = [float(value) for value in values if value]
    return found[0], found[-1]


def test_a_permutation_test_tells_a_rise_from_none() -> None:
    rng = np.random.default_rng(1)
    assert permutation_p(rng.normal(0, 1, 50).tolist(), rng.normal(1, 1, 50).tolist(), 1000) < 0.01
    assert permutation_p(rng.normal(0, 1, 50).tolist(), rng.normal(0, 1, 50).tolist(), 1000) > 0.05
