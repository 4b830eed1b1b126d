"""What is run on pretend CUDA; each function returns plain values."""

from __future__ import annotations

import importlib
import io
import json
import sys
from collections import Counter
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pretend_cuda.counts import CALLS, WAITS
from pretend_cuda.streams import UnorderedStreamsError
from pretend_cuda.tensors import MixedDevicesError
from shrinking import SHRUNK, made_up_inputs

from strathack import cli
from strathack.dataset import Dataset
from strathack.models.labelling.options import LabelTrainConfig
from strathack.models.labelling.training import train_labeller
from strathack.models.losses import Targets, cloning_loss
from strathack.models.metrics import tally
from strathack.models.offline.options import OfflineConfig
from strathack.models.options import TrainConfig
from strathack.models.policy import Policy
from strathack.models.predicting import predictions
from strathack.models.presets import PRESETS
from strathack.models.pretraining.options import PretrainConfig
from strathack.models.pretraining.training import pretrain
from strathack.models.running import quieten
from strathack.models.saving import load_policy, save_policy
from strathack.models.training import train_policy
from strathack.rl.config import APPOConfig, GameConfig, ImitationConfig, RewardConfig
from strathack.rl.learning.finetuning import fine_tune
from strathack.rl.options import FinetuneConfig
from strathack.rl.schedules import Schedule

STEPS, LANES = 6, 4
SMALL = (
    "encoder.embedding=4; encoder.crop_channels=[8]; encoder.crop_units=8; encoder.screen_channels=[8];"
    "encoder.screen_units=8; encoder.message=8; encoder.size=16; heads.hidden=8; core.hidden=16"
)


def unrolled(name: str, precision: str) -> dict[str, Any]:
    """One preset: unroll, loss, sums, backward and an optimiser's step, and one step alone; what waited."""
    torch.manual_seed(0)
    policy = Policy(SHRUNK[name]).train()
    rng = np.random.default_rng(0)
    first = rng.random((STEPS, LANES)) < 0.2
    inputs = made_up_inputs(rng, STEPS, LANES, first)
    actions = torch.from_numpy(rng.integers(0, 121, (STEPS, LANES)))
    strategies = torch.from_numpy(rng.integers(-1, max(len(policy.config.strategies), 1), (STEPS, LANES)))
    results = {}
    for device in ("cpu", "cuda"):
        policy = policy.to(device)
        optimizer = torch.optim.AdamW(policy.parameters(), fused=True)
        batch = {key: value.to(device) for key, value in inputs.items()}
        targets = Targets(actions.to(device), strategies.to(device) if policy.config.label else None)
        state = policy.initial_state(LANES)
        WAITS.clear()
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
            output, after = policy.unroll(batch, state, targets.strategies, np.flatnonzero(first.any(1)).tolist())
            loss = cloning_loss(output, targets, 1.0, None, 1.0)
            sums = tally(output, targets)
        loss.total.backward()
        waits = Counter(WAITS)
        norm = torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        if device == "cuda":
            with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
                policy.step({key: value[0] for key, value in batch.items()}, {k: v.detach() for k, v in after.items()})
            optimizer.step()
        results[device] = {"loss": loss.total.item(), "norm": norm.item(), "steps": sums.steps.item()}
        optimizer.zero_grad()
    return results | {"waits": dict(waits)}


def all_unrolled() -> dict[str, dict[str, Any]]:
    """Every preset in both precisions."""
    return {f"{name} {precision}": unrolled(name, precision) for name in SHRUNK for precision in ("32", "bf16")}


def trained(games: str, out: str, name: str, options: str = "{}") -> dict[str, Any]:
    """Whole training runs of 6 and of 16 steps; what waited in one of the ten steps between."""
    waits = []
    CALLS.clear()
    quieten()
    PRESETS[name] = SHRUNK[name]  # type: ignore[index]
    for steps in (6, 16):
        WAITS.clear()
        train_policy(
            TrainConfig(
                data=[Path(games)], out=Path(out) / str(steps), policy=name, lanes=3, unroll=8,
                steps=steps, validate_every=100, validation_batches=2, log_every=100, device="cuda", quiet=True,
                **json.loads(options),
            )
        )  # fmt: skip
        waits.append(Counter(WAITS))
    return {"waits": {key: count / 10 for key, count in (waits[1] - waits[0]).items()}, "calls": sum(CALLS.values())}


def streamed(games: str, out: str, kind: str) -> dict[str, Any]:
    """As :func:`trained`, for a labeller, for pre-training, or for an algorithm of offline reinforcement learning."""
    waits, ended = [], None
    quieten()
    common = {
        "data": [Path(games)], "lanes": 3, "unroll": 8, "validate_every": 100, "validation_batches": 2,
        "log_every": 100, "device": "cuda", "quiet": True,
    }  # fmt: skip
    for steps in (6, 16):
        WAITS.clear()
        place = {"out": Path(out) / str(steps), "steps": steps}
        if kind == "label":
            ended = train_labeller(LabelTrainConfig(**common, **place, hidden=16, actions=True))
        elif kind == "pretrain":
            ended = pretrain(PretrainConfig(**common, **place, set=SMALL, longest=30))
        else:
            offline = OfflineConfig(heads=5) if kind == "rem" else OfflineConfig()
            ended = train_policy(TrainConfig(**common, **place, set=SMALL, algorithm=kind, offline=offline))
        waits.append(Counter(WAITS))
    validated = ended.module.validated.scalars()
    figures = {name: value for name, value in validated.items() if "/" not in name}
    return {"waits": {key: count / 10 for key, count in (waits[1] - waits[0]).items()}, "figures": figures}


def resumed(games: str, out: str, options: str) -> dict[str, Any]:
    """A run with validations, checkpoints, an average of the weights and a resumption; then one from its weights."""
    quieten()
    first = Path(out) / "first"
    common = {
        "data": [Path(games)], "lanes": 3, "unroll": 8, "validate_every": 3, "validation_batches": 2, "log_every": 2,
        "device": "cuda", "quiet": True,
    }  # fmt: skip
    train_policy(TrainConfig(out=first, set=SMALL, steps=6, **common, **json.loads(options)))
    again = train_policy(TrainConfig(resume=first, steps=9, quiet=True))
    other = train_policy(TrainConfig(out=Path(out) / "other", weights=first, steps=3, **common))
    cleaved = train_policy(
        TrainConfig(out=Path(out) / "cleaved", high=first, low=first, freeze="high", steps=3, **common)
    )
    table = predictions(load_policy(first, "cuda"), Dataset(games).take([0]), steps=20, unroll=8)
    return {
        "steps": [one.module.trainer.global_step for one in (again, other, cleaved)],
        "nll": [one.module.validated.action_nll for one in (again, other, cleaved) if one.module.validated],
        "predicted": len(table),
    }


def fine_tuned(games: str, out: str, name: str, hold: str, passes: str, progress: str = "") -> dict[str, Any]:
    """Fine-tuning with demonstrations, a teacher, validations and a resumption; what waited in one update.

    With ``progress``, also with the reward of a model of progress.
    """
    quieten()
    reward = RewardConfig()
    if progress:
        options = PretrainConfig(
            data=[Path(games)], out=Path(out) / "pretrained", lanes=3, unroll=8, steps=1, validate_every=1, set=SMALL,
            objective="progress", longest=30, device="cuda", quiet=True,
        )  # fmt: skip
        reward = RewardConfig(progress=pretrain(options).folder, progress_lag=5)
    checkpoint = Path(out) / "policy.safetensors"
    save_policy(checkpoint, Policy(SHRUNK[name]))
    waits, ended = [], None
    for updates in (4, 12):
        WAITS.clear()
        imitation = ImitationConfig(
            demos=Path(games), demos_lanes=3, kickstart_weight=Schedule(weight=0.5), demos_weight=Schedule(weight=1.0)
        )
        ended = fine_tune(
            FinetuneConfig(
                run=[checkpoint], out=Path(out) / str(updates), env="NetHackScore-v0", workers=0, envs=2, env_groups=2,
                frames=updates * 32, appo=APPOConfig(unroll=8, min_strategy_steps=int(hold), passes=int(passes)),
                imitation=imitation, reward=reward, game=GameConfig(max_steps=20), log_every=100, checkpoint_every=100,
                validate_every=0, device="cuda", quiet=True,
            )
        )  # fmt: skip
        waits.append(Counter(WAITS))
    again = fine_tune(FinetuneConfig(resume=Path(out) / "4", frames=192, quiet=True))
    assert ended is not None
    between = {key: count / 8 for key, count in (waits[1] - waits[0]).items()}
    return {"updates": [ended.counters.updates, again.counters.updates], "waits": between}


def evaluated(out: str, name: str, hold: str) -> dict[str, Any]:
    """Two short games of a policy that acts on the device."""
    checkpoint, games = Path(out) / "policy.safetensors", Path(out) / "evaluation"
    save_policy(checkpoint, Policy(SHRUNK[name]))
    words = (
        f"evaluate {checkpoint} --out {games} --games 2 --max-steps 40 --workers 0 --clock seed --device cuda --quiet"
    )
    CALLS.clear()
    status = cli.main([*words.split(), "--min-strategy-steps", hold])
    return {"status": status, "on the device": sum(CALLS.values()), "files": sorted(p.name for p in games.iterdir())}


def planted() -> dict[str, str]:
    """Mistakes: a mix of devices; memory of one stream used in another without waiting, or without being recorded."""
    return {what: _raised_by(what) for what in ("mixed", "unwaited", "unrecorded", "none")}


def _raised_by(what: str) -> str:
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        made = torch.ones(3, device="cuda")
    if what != "unwaited":
        torch.cuda.current_stream().wait_stream(side)
    if what != "unrecorded":
        made.record_stream(torch.cuda.current_stream())
    try:
        made + torch.ones(3, device="cpu" if what == "mixed" else "cuda")
    except (MixedDevicesError, UnorderedStreamsError) as error:
        return str(error)
    return ""


def benchmarked(benchmark: str, data: str, folder: str, select: str, minutes: str) -> dict[str, Any]:
    """The benchmark of a GPU: one command that runs out of time, and as many more as it takes."""
    sys.path.insert(0, str(Path(benchmark).parent))
    gpu = importlib.import_module(Path(benchmark).stem)
    words = f"{data} --work {folder}/work --out {folder}/out --workers 2 --games 0"
    words += " --seconds 8 --log-every 1 --train-minutes 0.4"
    lines, out = [], io.StringIO()
    while not out.getvalue().endswith("one H200\n"):
        out = io.StringIO()
        with redirect_stdout(out):
            gpu.main([*words.split(), "--minutes", minutes, "--policies", "symbols-small", "--select", select])
        lines.append(out.getvalue().splitlines()[-1])
        assert len(lines) < 20, lines
    sizes = {path.name: path.stat().st_size for path in Path(folder, "out").iterdir()}
    return {"lines": lines, "sizes": sizes, "known": json.loads(Path(folder, "out", "gpu.json").read_text())}
