"""``strathack finetune``: a run's folder, its policy, its actors, and the loop that learns from what they play."""

from __future__ import annotations

import os
import queue
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from pytorch_lightning.loggers import Logger
from rich.console import Console

from strathack.dataset import Dataset
from strathack.dataset.errors import InputError, RunError
from strathack.dataset.schedule import Share
from strathack.models.acting import ActingConfig, Actor
from strathack.models.callbacks import MetricsCSV
from strathack.models.cleaved import AnyConfig, AnyPolicy, build_policy, config_from_values
from strathack.models.cloning import LabelTables
from strathack.models.policy import Policy
from strathack.models.presets import preset
from strathack.models.running import (
    METRICS,
    OPTIONS,
    begin_folder,
    checked_device,
    is_first_process,
    other_loggers,
    quieten,
)
from strathack.models.saving import LAST, POLICY, load_policy, load_values, save_values
from strathack.models.training import fingerprint, label_tables
from strathack.rl.actors import Actors, Launcher, RayLauncher, ThreadLauncher
from strathack.rl.batches import Batch, assembled
from strathack.rl.display import Display, ended_table
from strathack.rl.environments import make_simulator
from strathack.rl.imitation import Demonstrations, Teacher, check_teacher, kept_skill
from strathack.rl.learner import BadNumbersError, Gradients, Learner
from strathack.rl.options import DEFAULT_FRAMES, FinetuneConfig
from strathack.rl.progress import Counters
from strathack.rl.recording import SavedGames, recorder_of
from strathack.rl.rewards import Rewards
from strathack.rl.rollouts import Clock, Follower, Rollouts, Unroll, shares
from strathack.rl.serving import ActorSpec
from strathack.rl.stepping import LaneSpec

BAD_BATCH = "bad-batch.safetensors"
"""The batch that made a loss no number, for whoever wants to look into it."""


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    Attributes:
        folder: The run's.
        counters: What was done in it.
        interrupted: The signal that asked it to end, if one did; it can be resumed.
    """

    folder: Path
    counters: Counters
    interrupted: int | None


def main(config: FinetuneConfig) -> int:
    """Fine-tunes, or goes on with it, and prints what came of it.

    Raises:
        InputError: If options, environment, policy and demonstrations do not go together.
        RunError: If the loss is no number, or actors cannot go on.
    """
    quieten()
    try:
        ended = finetune(config)
    except OSError as error:
        raise RunError(f"{error.filename or config.out}: {error.strerror or error}") from None
    if not is_first_process():
        return 0
    if ended.interrupted is not None:
        print(f"interrupted; strathack finetune --resume {ended.folder} goes on", file=sys.stderr)
        return 128 + ended.interrupted
    Console().print(ended_table(ended.counters))
    print(f"{ended.counters.frames:,} frames; checkpoint and {METRICS} in {ended.folder}")
    return 0


def finetune(config: FinetuneConfig) -> Ended:
    """Fine-tunes, or goes on with it.

    Raises:
        InputError: If options, environment, policy and demonstrations do not go together.
        RunError: If the loss is no number, or actors cannot go on.
    """
    saved: dict[str, Any] | None = None
    if config.resume is not None:
        config, saved = resumed_run(config)
    fabric = fabric_of(config)
    fabric.launch()
    try:
        return _finetune(config, saved, fabric)
    except BaseException:
        # Other processes would wait for this one.
        if isinstance(launcher := fabric.strategy.launcher, _SubprocessScriptLauncher):
            for process in launcher.procs:
                process.kill()
        raise


def _finetune(config: FinetuneConfig, saved: Mapping[str, Any] | None, fabric: Fabric) -> Ended:
    assert config.out is not None
    fabric.seed_everything(config.seed, verbose=False)
    torch.set_num_threads(threads_of(config))
    policy = policy_of(config, saved).to(fabric.device)
    # From here on every process draws for itself.
    torch.manual_seed(config.seed + fabric.global_rank)
    check_environment(config, policy.config)
    demos = demos_of(config.imitation.demos, policy.config)
    held_out = demos if config.imitation.held_out is None else demos_of(config.imitation.held_out, policy.config)
    check_splits(config, demos, held_out)
    slices_in_batch(config)
    teacher = teacher_of(config, policy.config, fabric.device)
    about = {"env": config.env, "dataset": "" if demos is None else fingerprint(demos.dataset)}
    if saved is not None and saved["about"] != about:
        raise InputError(f"{config.imitation.demos}: other games than those that the run was trained on")
    loggers = other_loggers(config) if fabric.is_global_zero else []
    if saved is None:
        begin_folder(config)
    counters = Counters.from_values(saved["counters"]) if saved is not None else Counters()
    if fabric.is_global_zero:
        loggers.append(MetricsCSV(config.out / METRICS, counters.updates))
    rewards = Rewards(config.reward, config.appo.discount)
    with ExitStack() as stack:
        follower = Follower(policy, ActingConfig(hold=config.appo.hold))
        saved_games = saved_games_of(config, policy.config)
        playing_with = playing(config, policy.config, follower, counters, saved_games, fabric.global_rank)
        rollouts = stack.enter_context(playing_with)
        learner = learner_of(config, policy, demos, teacher, fabric, follower)
        run = Run(config, fabric, policy, learner, rollouts, rewards, counters, held_out, loggers, about)
        if saved is not None:
            run.load(saved)
        stack.enter_context(run.display)
        asked = stack.enter_context(asked_to_end())
        rollouts.start()
        interrupted = run.until_it_ends(asked)
    return Ended(config.out, counters, interrupted)


def fabric_of(config: FinetuneConfig) -> Fabric:
    """Lightning's Fabric: devices, and the processes that learn side by side."""
    accelerator = {"gpu": "cuda"}.get(name := checked_device(config), name)
    strategy = "ddp" if config.devices * config.nodes > 1 else "auto"
    return Fabric(accelerator=accelerator, devices=config.devices, num_nodes=config.nodes, strategy=strategy)


def threads_of(config: FinetuneConfig) -> int:
    """Threads of the learner's arithmetic."""
    cores = os.cpu_count() or 1
    return config.threads or max(1, (cores // config.devices) - actors_of(config))


def actors_of(config: FinetuneConfig) -> int:
    """Actors of each learner; 0 for threads of this process."""
    return max(1, (os.cpu_count() or 1) // config.devices) if config.actors is None else config.actors


def slices_in_batch(config: FinetuneConfig) -> int:
    """How many slices are learned from at a time.

    Raises:
        InputError: If there are fewer lanes, or they are no whole slices.
    """
    lanes = max(actors_of(config), 1) * config.slices * config.envs
    wanted = config.appo.batch or lanes
    if wanted % config.envs or wanted > lanes:
        raise InputError(
            f"batch: {wanted} lanes; expected a multiple of the {config.envs} environments of a slice, at most the "
            f"{lanes} of all"
        )
    return wanted // config.envs


def resumed_run(config: FinetuneConfig) -> tuple[FinetuneConfig, dict[str, Any]]:
    """The options of the run to go on with, and its checkpoint.

    Raises:
        InputError: If there is no run.
    """
    assert config.resume is not None
    folder = config.resume
    if not (folder / OPTIONS).exists():
        raise InputError(f"{folder}: no run in it; expected {OPTIONS}")
    saved = FinetuneConfig.from_json((folder / OPTIONS).read_text()).with_end_of(config)
    values = load_values(folder / LAST)
    if "counters" not in values:
        raise InputError(f"{folder}: a run of strathack train; begin from it, strathack finetune {folder} --out ...")
    return replace(saved, out=folder), values


def policy_of(config: FinetuneConfig, saved: Mapping[str, Any] | None) -> AnyPolicy:
    """The policy to begin or go on with.

    Raises:
        InputError: If it is none, or one that cannot do what is asked.
    """
    if saved is not None:
        policy = build_policy(config_from_values(saved["policy"]))
        weights = {name.removeprefix(POLICY): value for name, value in saved["state_dict"].items()}
        policy.load_state_dict(weights)
    elif config.begin is not None:
        policy = load_policy(config.begin)
    else:
        wanted = preset(config.policy).changed([change for change in config.set.split(";") if change.strip()])
        policy = Policy(replace(wanted, actions=_probe(config, wanted.observations)[0]))
    Actor(policy, ActingConfig(hold=config.appo.hold))  # refuses what it cannot hold
    return policy


def _probe(config: FinetuneConfig, observations: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The environment's actions, and what it shows."""
    simulator = make_simulator(config.env, config.game, observations)
    simulator.close()
    return simulator.actions, simulator.observation_keys


def check_environment(config: FinetuneConfig, policy: AnyConfig) -> None:
    """Checks that environment and policy go together.

    Raises:
        InputError: If their actions are others, or it shows less than the policy needs.
    """
    actions, shown = _probe(config, policy.observations)
    if actions != policy.actions:
        odd = [name for name in (*actions, *policy.actions) if (name in actions) != (name in policy.actions)]
        said = f"they differ in {', '.join(odd[:5])}{' …' * (len(odd) > 5)}" if odd else "they are in another order"
        raise InputError(
            f"env: {config.env} has {len(actions)} actions, the policy has {len(policy.actions)}; {said}"
        )  # fmt: skip
    missing = [key for key in policy.observations if key not in shown]
    if missing:
        raise InputError(f"env: the policy needs {', '.join(missing)}; {config.env} shows {', '.join(shown)}")


@dataclass(frozen=True)
class Demos:
    """Demonstrations to clone, or to tell what is kept of a skill.

    Attributes:
        dataset: The games.
        tables: From their codes to the policy's indices.
    """

    dataset: Dataset
    tables: LabelTables


def demos_of(path: Path | None, policy: AnyConfig) -> Demos | None:
    """Demonstrations, checked; None where none are given.

    Raises:
        InputError: If they do not fit the policy.
    """
    if path is None:
        return None
    dataset = Dataset([path])
    missing = [key for key in policy.observations if key not in dataset.observations]
    if missing:
        have = ", ".join(dataset.observations) or "none, only keys (strathack dataset expand replays them)"
        raise InputError(f"{path}: the policy needs {', '.join(missing)}; the dataset has {have}")
    return Demos(dataset, label_tables(policy, dataset, path))


def check_splits(config: FinetuneConfig, demos: Demos | None, held_out: Demos | None) -> None:
    """Checks that there are games to train and to validate on.

    Raises:
        InputError: If there are too few.
    """
    if demos is not None:
        lanes, games = config.imitation.demos_lanes, _games(demos, "train") // (config.devices * config.nodes)
        if lanes > games:
            path = config.imitation.demos
            raise InputError(f"demos_lanes: {lanes} lanes are more than the {games} games to train on in {path}")
    if config.validate_every and (held_out is None or not _games(held_out, "validation")):
        path = config.imitation.held_out or config.imitation.demos
        raise InputError(f"{path}: no game in the validation split; strathack dataset split sets other shares")


def _games(demos: Demos, split: str) -> int:
    return int((demos.dataset.select(split=split).rows["steps"] > 0).sum())


def teacher_of(config: FinetuneConfig, policy: AnyConfig, device: torch.device) -> Teacher | None:
    """The teacher, checked; None where none is asked for.

    Raises:
        InputError: If it does not fit the policy.
    """
    if not config.imitation.kickstart_schedule.weight:
        return None
    path = config.imitation.teacher or config.begin
    assert path is not None
    teacher = load_policy(path, device)
    check_teacher(teacher.config, policy, path)
    missing = [key for key in teacher.config.observations if key not in policy.observations]
    if missing:
        raise InputError(f"teacher: {path} needs {', '.join(missing)}, which the policy is not shown")
    return Teacher(teacher)


def saved_games_of(config: FinetuneConfig, policy: AnyConfig) -> SavedGames | None:
    """Where games are kept; None where they are not.

    Raises:
        InputError: If they cannot be, or the folder holds others.
    """
    if config.save_games is None:
        return None
    assert config.out is not None
    simulator = make_simulator(config.env, config.game, policy.observations)
    simulator.close()
    return SavedGames(config.save_games, recorder_of(config.env, config.game, policy, simulator, config.out))


@contextmanager
def playing(
    config: FinetuneConfig,
    policy: AnyConfig,
    follower: Follower,
    counters: Counters,
    saved_games: SavedGames | None,
    rank: int,
) -> Iterator[Rollouts]:
    """Actors, and what plays with them."""
    number = actors_of(config)
    # Every rank and every resumption plays other games.
    entropy = (config.seed, rank, counters.updates)
    recorder = None if saved_games is None else saved_games.recorder
    recorded = () if recorder is None else recorder.provenance.observations
    lane = LaneSpec(config.env, config.game, policy.observations, entropy, recorded)
    spec = ActorSpec(lane, config.slices, config.envs, config.appo.unroll, slots=2, new_record=recorder)
    launcher: Launcher = RayLauncher(number, config.address) if number else ThreadLauncher()
    with ExitStack() as stack:
        try:
            actors = Actors(spec, max(number, 1), launcher, config.hang_seconds)
        except BaseException:
            launcher.close()
            raise
        stack.callback(actors.close)
        rollouts = Rollouts(
            actors,
            follower,
            on_game=counters.add_game,
            on_shard=(lambda seed, shard: None) if saved_games is None else saved_games.add,
            on_loss=counters.add_loss,
        )
        stack.callback(rollouts.stop)
        yield rollouts
    if saved_games is not None:
        saved_games.merge()


def learner_of(
    config: FinetuneConfig,
    policy: AnyPolicy,
    demos: Demos | None,
    teacher: Teacher | None,
    fabric: Fabric,
    follower: Follower,
) -> Learner:
    """What learns."""
    demonstrations = None
    if demos is not None:
        share = Share(fabric.global_rank, fabric.world_size)
        demonstrations = Demonstrations(
            demos.dataset, policy.config, demos.tables, config.imitation, config.appo.unroll, config.seed, share
        )
    averaged = None if fabric.world_size == 1 else lambda gradient: fabric.all_reduce(gradient, reduce_op="mean")
    half = config.precision == "bf16" or (config.precision == "auto" and fabric.device.type == "cuda")
    return Learner(
        policy,
        config.appo,
        config.imitation,
        demonstrations=demonstrations,
        teacher=teacher,
        gradients=Gradients(averaged),
        changing=follower.updating,
        autocast=lambda: torch.autocast(fabric.device.type, torch.bfloat16) if half else nullcontext(),
    )


@contextmanager
def asked_to_end() -> Iterator[list[int]]:
    """Notes SIGTERM and Ctrl-C instead of obeying them at once; a second Ctrl-C does not wait."""
    asked: list[int] = []

    def note(number: int, frame: Any) -> None:
        asked.append(number)
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Run:
    """The loop: take unrolls, learn from them, tell of it, save.

    Args:
        config: The options.
        fabric: Devices and processes.
        policy: What is trained.
        learner: Trains it.
        rollouts: Plays with it.
        rewards: Scales rewards.
        counters: What was done so far.
        held_out: Tells what is kept of the cloned skill; None for nothing.
        loggers: Take rows.
        about: Plain values to keep in checkpoints.
    """

    def __init__(
        self,
        config: FinetuneConfig,
        fabric: Fabric,
        policy: AnyPolicy,
        learner: Learner,
        rollouts: Rollouts,
        rewards: Rewards,
        counters: Counters,
        held_out: Demos | None,
        loggers: list[Logger],
        about: Mapping[str, Any],
    ) -> None:
        self.config, self.fabric, self.policy, self.learner = config, fabric, policy, learner
        self.rollouts, self.rewards, self.counters, self.held_out = rollouts, rewards, counters, held_out
        self.display = Display(counters, self.share_done, config.quiet or not fabric.is_global_zero)
        self._loggers, self._about = loggers, dict(about)
        self._held_over: list[Unroll] = []
        self._clock, self._lap = Clock(), time.monotonic()
        self._frames_at_lap = counters.frames

    def share_done(self) -> float:
        """Of the budget, 0 to 1."""
        config = self.config
        frames = config.frames or (DEFAULT_FRAMES if config.minutes is None else None)
        by_frames = self.counters.frames / frames if frames else 0.0
        by_minutes = self.counters.seconds / 60 / config.minutes if config.minutes else 0.0
        return min(max(by_frames, by_minutes), 1.0)

    def until_it_ends(self, asked: list[int]) -> int | None:
        """Learns until the budget is spent or a signal asks for the end.

        Args:
            asked: Signals that came so far; it may grow.

        Returns:
            The signal that was obeyed; None for none.

        Raises:
            RunError: If the loss is no number, or actors cannot go on.
        """
        config, counters = self.config, self.counters
        if config.validate_every and not counters.updates:
            self._validate()
        while self.share_done() < 1:
            began = time.monotonic()
            with self._clock.measure("waiting"):
                unrolls = self._unrolls(asked)
            if unrolls is None:
                break
            with self._clock.measure("learning"):
                batch = assembled(unrolls, self.rewards, self.fabric.device)
                metrics = self._learn(batch)
            self._count(batch, time.monotonic() - began)
            if counters.updates % config.log_every == 0:
                self._log({name: float(value) for name, value in metrics.items()})
            if config.validate_every and counters.updates % config.validate_every == 0:
                self._validate()
            if counters.updates % config.checkpoint_every == 0:
                self.save()
            if self._any(bool(asked)):
                break
        self.save()
        return asked[0] if asked else None

    def _unrolls(self, asked: list[int]) -> list[Unroll] | None:
        """As many as make a batch, of different slices; None if the end is asked for in the meantime."""
        wanted = slices_in_batch(self.config)
        # Of two unrolls of one slice the second has to wait: memories go from batch to batch.
        taken: dict[int, Unroll] = {}
        held_over, self._held_over = self._held_over, []
        while len(taken) < wanted:
            try:
                unroll = held_over.pop(0) if held_over else self.rollouts.get(timeout=0.2)
            except queue.Empty:
                if asked and self.fabric.world_size == 1:
                    return None
                self.display.update()
                continue
            if unroll.index in taken:
                self._held_over.append(unroll)
            else:
                taken[unroll.index] = unroll
        self._held_over += held_over
        return list(taken.values())

    def _learn(self, batch: Batch) -> dict[str, torch.Tensor]:
        try:
            return self.learner.update(batch)
        except BadNumbersError as error:
            assert self.config.out is not None
            path = self.config.out / BAD_BATCH
            save_values(path, {name: value for name, value in vars(error.batch).items() if name != "slices"})
            raise RunError(f"{error}; stopped. The batch is in {path}, {LAST} is as it was last saved") from None

    def _count(self, batch: Batch, seconds: float) -> None:
        counters = self.counters
        counters.updates = self.learner.updates
        counters.frames += int(self._summed(batch.frames))
        # Rates and ends are to be the same everywhere, so one clock counts.
        counters.seconds += seconds if self.fabric.world_size == 1 else self.fabric.broadcast(seconds)
        self.display.update()

    def _summed(self, value: float) -> float:
        """Over all processes."""
        if self.fabric.world_size == 1:
            return value
        return float(self.fabric.all_reduce(torch.tensor(float(value), device=self.fabric.device), reduce_op="sum"))

    def _any(self, value: bool) -> bool:
        return self._summed(float(value)) > 0

    def _log(self, metrics: Mapping[str, float]) -> None:
        now, counters = time.monotonic(), self.counters
        speed = (counters.frames - self._frames_at_lap) / max(now - self._lap, 1e-9)
        self._lap, self._frames_at_lap = now, counters.frames
        row = {
            "frames": counters.frames,
            "frames_per_second": speed,
            "seconds": counters.seconds,
            "games": counters.games,
            "actors_lost": counters.lost,
            **counters.recent(),
            **metrics,
            **{f"learner/{name}": share for name, share in shares(self._clock.seconds).items()},
            **{f"acting/{name}": share for name, share in shares(self.rollouts.clock.seconds).items()},
            "reward_scale": self.rewards.scale.value,
        }
        self.display.show(row)
        for logger in self._loggers:
            logger.log_metrics(row, counters.updates)

    def _validate(self) -> None:
        """Tells what is kept of the cloned skill."""
        if self.held_out is None or not self.fabric.is_global_zero:
            return
        self.policy.eval()
        config = self.config
        result = kept_skill(
            self.policy, self.held_out.dataset, self.held_out.tables, config.imitation.demos_lanes, config.appo.unroll,
            self.fabric.device,
        )  # fmt: skip
        self.policy.train()
        row = {f"validation/{name}": value for name, value in result.scalars().items()}
        self.counters.validation_nll = result.action_nll
        for logger in self._loggers:
            logger.log_metrics(row | {"frames": self.counters.frames}, self.counters.updates)

    def save(self) -> None:
        """Writes the checkpoint."""
        mine = {
            "demos": None if self.learner.demonstrations is None else self.learner.demonstrations.state_dict(),
            "rewards": self.rewards.state_dict(),
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state(self.fabric.device) if self.fabric.device.type == "cuda" else None,
            "counters": self.counters.to_values(),
        }
        everyone = [mine]
        if self.fabric.world_size > 1:
            everyone = [None] * self.fabric.world_size  # type: ignore[list-item]
            torch.distributed.all_gather_object(everyone, mine)
        if not self.fabric.is_global_zero:
            return
        assert self.config.out is not None
        weights = {f"{POLICY}{name}": value for name, value in self.policy.state_dict().items()}
        values = {
            "state_dict": weights,
            "policy": self.policy.config.to_values(),
            "about": self._about,
            "optimizer": self.learner.optimizer.state_dict(),
            "counters": self.counters.to_values(),
            "processes": everyone,
        }
        save_values(self.config.out / LAST, values)

    def load(self, saved: Mapping[str, Any]) -> None:
        """Goes to where a run was.

        Raises:
            InputError: If it had another number of processes.
        """
        processes = saved["processes"]
        if len(processes) != self.fabric.world_size:
            raise InputError(f"devices: the run had {len(processes)} processes, here are {self.fabric.world_size}")
        mine = processes[self.fabric.global_rank]
        self.learner.optimizer.load_state_dict(saved["optimizer"])
        self.learner.updates = self.counters.updates
        self.rewards.load_state_dict(mine["rewards"])
        if self.learner.demonstrations is not None:
            self.learner.demonstrations.load_state_dict(mine["demos"], self.fabric.device)
        torch.set_rng_state(mine["rng"].cpu())
        if mine["cuda_rng"] is not None and self.fabric.device.type == "cuda":
            torch.cuda.set_rng_state(mine["cuda_rng"].cpu(), self.fabric.device)
