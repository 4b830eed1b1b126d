"""Frames a second of our APPO relative to Sample Factory 2.1.1, end to end: same network, environment, lanes and cores.

Sample Factory needs a virtual environment of its own, because it requires numpy 1:

    python -m venv peer
    peer/bin/pip install "numpy<2" nle==1.3.0 torch==2.13.0 gymnasium h5py psutil threadpoolctl colorlog filelock \
        tensorboardX opencv-python-headless faster-fifo signal-slot-mp huggingface-hub wandb
    peer/bin/pip install --no-deps sample-factory==2.1.1
    python benchmarks/appo.py --peer peer/bin/python [--network crop|screen]

Both sides play NetHackScore-v0 with the 23 actions that NLE gives it and nothing skipped, in two processes of sixteen
environments each, with unrolls of 32 steps and an LSTM of 128 units. Rounds of the two sides alternate; the rate of a
round is measured in its second half.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor, nn

ACTORS, LANES, UNROLL, HIDDEN, ENCODED = 2, 16, 32, 128, 256
START_SECONDS = 15
KEYS = ("tty_chars", "tty_cursor", "blstats")


class Network(nn.Module):
    """A frame as a vector: the whole screen or a 9×9 crop around the cursor, embedded and convolved; and blstats."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.crop = kind == "crop"
        self.embedding = nn.Embedding(256, 16 if self.crop else 8)
        if self.crop:
            layers = [nn.Conv2d(16, 32, 3), nn.ELU(), nn.Conv2d(32, 32, 3), nn.ELU(), nn.Flatten()]
            self.screen = nn.Sequential(*layers, nn.Linear(32 * 25, 224), nn.ELU())
        else:
            layers = [nn.Conv2d(8, 32, 3, 2), nn.ELU(), nn.Conv2d(32, 32, 3, 2), nn.ELU(),
                      nn.Conv2d(32, 32, 3, padding=1), nn.ELU(), nn.Flatten()]  # fmt: skip
            self.screen = nn.Sequential(*layers, nn.Linear(32 * 5 * 19, 96), nn.ELU())
        self.blstats = nn.Sequential(nn.Linear(27, 64), nn.ELU())
        self.out = nn.Sequential(nn.Linear((224 if self.crop else 96) + 64, ENCODED), nn.ELU())

    def forward(self, inputs: dict[str, Tensor], lanes: int | None = None) -> Tensor:
        chars = inputs["tty_chars"].long()
        if self.crop:
            chars = self._around(chars, inputs["tty_cursor"].long())
        screen = self.screen(self.embedding(chars).permute(0, 3, 1, 2))
        numbers = inputs["blstats"].float()
        return self.out(torch.cat([screen, self.blstats(numbers.sign() * numbers.abs().log1p())], 1))

    def _around(self, chars: Tensor, cursor: Tensor) -> Tensor:
        offsets = torch.arange(9) - 4
        rows, columns = cursor[:, :1] + offsets, cursor[:, 1:] + offsets
        inside = ((rows >= 0) & (rows < 24))[:, :, None] & ((columns >= 0) & (columns < 80))[:, None]
        places = rows.clamp(0, 23)[:, :, None] * 80 + columns.clamp(0, 79)[:, None]
        cells = chars.flatten(1).gather(1, places.flatten(1)).view_as(places)
        return torch.where(inside, cells, 32)


def ours(kind: str, seconds: float) -> tuple[float, str]:
    """Returns our rate, and how the learner thread and the acting thread spent their time."""
    from strathack.dataset.devices import is_bf16_faster_on_cpu
    from strathack.models.acting import ActingConfig
    from strathack.models.config import FlatConfig, LSTMConfig, PolicyConfig, SymbolsConfig
    from strathack.models.policy import Policy
    from strathack.models.running import hold_freed_memory
    from strathack.rl.acting.inference import InferencePolicy
    from strathack.rl.acting.rollouts import Rollouts, Stopwatch, shares
    from strathack.rl.acting.serving import WorkerSpec
    from strathack.rl.acting.workers import RayLauncher, RolloutWorkers
    from strathack.rl.config import ActionNames, APPOConfig, GameConfig, ImitationConfig, RewardConfig
    from strathack.rl.environments.stepping import LaneSpec
    from strathack.rl.learning.batches import assembled
    from strathack.rl.learning.learner import Learner, learning_thread
    from strathack.rl.learning.rewards import Rewards

    hold_freed_memory()
    torch.set_num_threads(1)
    names = tuple(actions())
    config = PolicyConfig(SymbolsConfig(size=ENCODED), LSTMConfig(HIDDEN), FlatConfig(), names)
    policy = Policy(config)
    policy.encoders[0] = Network(kind)
    appo = APPOConfig(unroll=UNROLL, entropy=0.001)
    player = InferencePolicy(policy, ActingConfig())
    lane = LaneSpec(
        "NetHackScore-v0", GameConfig(actions=ActionNames(names), no_progress=0, max_steps=5000), KEYS, (0,)
    )
    spec = WorkerSpec(lane, groups=2, envs=LANES // 2, steps=UNROLL, slots=2)
    workers = RolloutWorkers(spec, ACTORS, RayLauncher(ACTORS, None), hang_seconds=60)
    rollouts = Rollouts(workers, player)
    in_bf16 = is_bf16_faster_on_cpu()
    learner = Learner(
        policy, appo, ImitationConfig(), changing=player.updating,
        autocast=lambda: torch.autocast("cpu", torch.bfloat16, enabled=in_bf16),
    )  # fmt: skip
    rewards, stopwatch, device = Rewards(RewardConfig(), appo.discount), Stopwatch(), torch.device("cpu")
    learning = learning_thread(device, ACTORS)
    rollouts.start()
    began = half = time.monotonic()
    frames = 0
    held: list = []
    while (now := time.monotonic()) < began + seconds:
        if frames and half == began and now > began + seconds / 2:
            half, frames = now, 0
            stopwatch.seconds.clear()
            rollouts.stopwatch.seconds.clear()
        with stopwatch.measure("waiting"):
            taken = {}
            while len(taken) < 2 * ACTORS:
                unroll = held.pop(0) if held and held[0].index not in taken else rollouts.get(timeout=120)
                if unroll.index in taken:
                    held.append(unroll)
                else:
                    taken[unroll.index] = unroll
        with stopwatch.measure("learning"):
            batch = assembled(list(taken.values()), rewards, device)
            learning.submit(learner.update, batch).result()
        frames += batch.frames
    rate = frames / (time.monotonic() - half)
    spent = [f"{name} {share:.0%}" for name, share in shares(stopwatch.seconds).items()]
    spent += [f"acting {name} {share:.0%}" for name, share in shares(rollouts.stopwatch.seconds).items()]
    rollouts.stop()
    workers.close()
    learning.shutdown()
    return rate, ", ".join(spent)


def actions() -> dict[str, int]:
    """Name → index among all actions, of the actions that NLE gives NetHackScore by default."""
    from nle import nethack
    from nle.env.tasks import TASK_ACTIONS

    from strathack.dataset.actions import ACTION_NAMES

    return {ACTION_NAMES[nethack.ACTIONS.index(action)]: nethack.ACTIONS.index(action) for action in TASK_ACTIONS}


def peer_env(name: str, cfg: object, env_config: object, render_mode: str | None = None) -> object:
    """Makes the environment for Sample Factory, whose processes import this function."""
    import gymnasium
    import nle.env  # noqa: F401
    import numpy as np

    class Plain(gymnasium.Wrapper):
        def reset(self, **options: object) -> object:
            return self.env.reset()

        def step(self, action: object) -> object:
            observation, reward, ended, cut, _ = self.env.step(int(action))
            return observation, np.float32(reward), ended, cut, {}

    env = gymnasium.make(
        "NetHackScore-v0",
        observation_keys=KEYS,
        disable_env_checker=True,
        allow_all_modes=True,
        allow_all_yn_questions=True,
    )
    return Plain(env.unwrapped)


def peer_encoder(cfg: object, space: object) -> nn.Module:
    """Makes the network as an encoder of Sample Factory."""
    from sample_factory.model.encoder import Encoder

    class Encoded(Encoder):
        def __init__(self) -> None:
            super().__init__(cfg)
            self.network = Network(os.environ["APPO_NETWORK"])

        def forward(self, inputs: dict[str, Tensor]) -> Tensor:
            return self.network(inputs)

        def get_out_size(self) -> int:
            return ENCODED

    return Encoded()


def peer(kind: str, seconds: float) -> None:
    """Runs Sample Factory, which writes its rates to its log."""
    from sample_factory.algo.utils.context import global_model_factory
    from sample_factory.cfg.arguments import parse_full_cfg, parse_sf_args
    from sample_factory.envs.env_utils import register_env
    from sample_factory.train import run_rl

    os.environ["APPO_NETWORK"] = kind
    register_env("nethack", peer_env)
    global_model_factory().register_encoder_factory(peer_encoder)
    with tempfile.TemporaryDirectory() as folder:
        words = f"""--env=nethack --experiment=run --train_dir={folder} --device=cpu --serial_mode=False --async_rl=True
            --num_workers={ACTORS} --num_envs_per_worker={LANES} --worker_num_splits=2 --rollout={UNROLL}
            --recurrence={UNROLL} --batch_size={ACTORS * LANES * UNROLL}
            --use_rnn=True --rnn_type=lstm --rnn_size={HIDDEN}
            --num_batches_per_epoch=1 --num_epochs=1 --with_vtrace=False
            --normalize_input=False --normalize_returns=True
            --train_for_seconds={int(seconds)} --with_wandb=False --save_every_sec=1000 --nonlinearity=elu
            --decoder_mlp_layers --env_gpu_observations=False""".split()
        parser, _ = parse_sf_args(words)
        run_rl(parse_full_cfg(parser, words))


def peer_rate(python: str, kind: str, seconds: float) -> float:
    """Returns Sample Factory's rate in the second half of its run, from the totals in its log."""
    command = [python, __file__, "--as-peer", "--network", kind, "--seconds", str(seconds)]
    with tempfile.TemporaryFile("w+") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)
        # Sample Factory ignores its own time limit while its workers are busy.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds + START_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        file.seek(0)
        log = file.read()
    reports = re.findall(r"\[([\d-]+ [\d:]+),\d+\].*Total num frames: (\d+)", log)
    if len(reports) < 3:
        sys.exit(f"the peer said nothing of its rate:\n{log[-3000:]}")
    points = [(time.mktime(time.strptime(when, "%Y-%m-%d %H:%M:%S")), int(frames)) for when, frames in reports]
    (first, before), (last, after) = points[len(points) // 2], points[-1]
    return (after - before) / (last - first)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", help="the Python of the environment that Sample Factory is in")
    parser.add_argument("--network", choices=("crop", "screen"), default="crop")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--as-peer", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.as_peer:
        peer(arguments.network, arguments.seconds)
        return
    if arguments.peer is None or not Path(arguments.peer).exists():
        parser.error(f"--peer: {arguments.peer} is no Python; see --help for how to make one")
    count = sum(parameter.numel() for parameter in Network(arguments.network).parameters())
    print(f"{arguments.network}: {count:,} parameters and the LSTM's")
    ratios = []
    for number in range(arguments.rounds):
        theirs = peer_rate(arguments.peer, arguments.network, arguments.seconds)
        mine, spent = ours(arguments.network, arguments.seconds)
        ratios.append(mine / theirs)
        print(f"round {number}: Sample Factory {theirs:6,.0f}  ours {mine:6,.0f}  ratio {ratios[-1]:.2f}   {spent}")
    print(json.dumps({"network": arguments.network, "ratio, median": round(statistics.median(ratios), 2)}))


if __name__ == "__main__":
    main()
