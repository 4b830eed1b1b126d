"""Fine-tuning from options to its result: every part is made and checked before the loop begins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from strathack.collect.running.workplace import usable_cores
from strathack.dataset.errors import InputError, first_line
from strathack.dataset.options import given
from strathack.dataset.schedule import Share
from strathack.dataset.signals import StopOnSignal
from strathack.models.acting import ActingConfig, ActingPolicy
from strathack.models.cleaved import AnyConfig, AnyPolicy
from strathack.models.places import checkpoint_at
from strathack.models.policy import Policy
from strathack.models.precision import is_bf16
from strathack.models.presets import preset
from strathack.models.pretraining.networks import is_pretrained, load_pretrained, take_encoder
from strathack.models.running import Run, checked_device, together
from strathack.models.saving import frames_of, load_plain_values, load_policy, policy_of_values, weights_digest
from strathack.rl.acting.inference import InferencePolicy
from strathack.rl.acting.recording import SavedGames, recorder_of
from strathack.rl.acting.rollouts import Rollouts
from strathack.rl.acting.serving import WorkerSpec
from strathack.rl.acting.workers import Launcher, RayLauncher, RolloutWorkers, ThreadLauncher
from strathack.rl.environments.simulators import GymnasiumSimulator, Simulator, make_simulator
from strathack.rl.environments.stepping import LaneSpec
from strathack.rl.learning.checkpoints import Finetuning, load_checkpoint, own_state
from strathack.rl.learning.imitation import Demonstrations, Demos, Teacher, check_teacher
from strathack.rl.learning.learner import Gradients, Learner
from strathack.rl.learning.loop import FinetuningLoop
from strathack.rl.learning.progress import Counters
from strathack.rl.learning.progress_reward import progress_reward_of
from strathack.rl.learning.rewards import Rewards
from strathack.rl.options import FinetuneConfig

AWAKE_SECONDS = 0.002
"""How long rollout workers that have a core of their own wait for a command without sleeping."""


@dataclass(frozen=True)
class Finetuned:
    """How a run ended.

    Attributes:
        folder: The run's folder.
        counters: What was done in the run.
        interrupted: The signal that ended the run early, if one did; the run can then be resumed.
    """

    folder: Path
    counters: Counters
    interrupted: int | None


def fine_tune(options: FinetuneConfig) -> Finetuned:
    """Fine-tunes a policy, or resumes a run.

    Raises:
        InputError: If options, environment, policy and demonstrations do not go together.
        RunError: If the loss is not finite, or the rollout workers cannot go on.
    """
    run = Run.of(options)
    fabric = fabric_of(run.options)
    fabric.launch()
    with together(lambda: fabric.strategy.launcher), finetuning(run, fabric) as (parts, stop):
        interrupted = FinetuningLoop(parts).run(stop)
    return Finetuned(run.folder, parts.counters, interrupted)


def fabric_of(config: FinetuneConfig) -> Fabric:
    """Returns Lightning's Fabric: the devices, and the processes that learn side by side."""
    accelerator = {"gpu": "cuda"}.get(name := checked_device(config), name)
    strategy = "ddp" if config.learners > 1 else "auto"
    return Fabric(accelerator=accelerator, devices=config.devices, num_nodes=config.nodes, strategy=strategy)


@contextmanager
def finetuning(run: Run[FinetuneConfig], fabric: Fabric) -> Iterator[tuple[Finetuning, StopOnSignal]]:
    """Makes and checks the parts of fine-tuning, then makes the run's folder and starts the rollout workers.

    Raises:
        InputError: If options, environment, policy and demonstrations do not go together.
        RunError: If rollout workers cannot be started.
    """
    config, saved = run.options, run.saved
    if saved is not None and "counters" not in saved:
        folder = run.folder
        raise InputError(f"{folder}: a run of strathack train; begin from it, strathack finetune {folder} --out ...")
    if saved is None:
        config.check_used()
    fabric.seed_everything(config.seed, verbose=False)
    torch.set_num_threads(threads_of(config))
    policy = policy_of(config, saved).to(fabric.device)
    # From here on every process draws its own random numbers.
    torch.manual_seed(config.seed + fabric.global_rank)
    progress = progress_reward_of(config.reward, fabric.device)
    seen = tuple(dict.fromkeys((*policy.config.observations, *(() if progress is None else progress.observations))))
    check_environment(config, policy.config, seen)
    check_core(policy.config)
    if saved is None:
        check_parts(config, policy.config)
    demos, held_out = demos_of(config, policy.config)
    groups = groups_in_batch(config)
    teacher = teacher_of(config, policy.config, fabric.device)
    about: dict[str, Any] = {"env": config.env, "dataset": "" if demos is None else demos.dataset.fingerprint}
    if saved is not None and any(saved["about"].get(name) != value for name, value in about.items()):
        raise InputError(f"{config.imitation.demos}: other games than those that the run was trained on")
    beside = {"imitation.teacher": teacher and teacher.policy, "reward.progress": progress and progress.model}
    about["read"] = {name: weights_digest(network) for name, network in beside.items() if network is not None}
    if saved is not None:
        check_read(about["read"], saved["about"].get("read", {}))
    about |= begun_with(config) if saved is None else {"frames": 0, **saved["about"], **about}
    counters = Counters() if saved is None else Counters.from_values(own_state(saved, fabric)["counters"])
    summed = None if fabric.world_size == 1 else partial(summed_array, fabric)
    rewards = Rewards(config.reward, config.appo.discount, summed)
    player = InferencePolicy(policy, ActingConfig(min_strategy_steps=config.appo.min_strategy_steps), counters.updates)
    with ExitStack() as stack:
        saved_games = saved_games_of(run, policy.config, fabric)
        if saved_games is not None:
            stack.enter_context(saved_games)
        rollouts = stack.enter_context(playing(config, seen, player, counters, saved_games, fabric.global_rank))
        learner = learner_of(config, policy, demos, teacher, fabric, player)
        if learner.demonstrations is not None:
            stack.callback(learner.demonstrations.close)
        # Nothing of the run is written before all of its parts are there.
        loggers = run.begin(counters.updates) if fabric.is_global_zero else []
        parts = Finetuning(
            run=run, fabric=fabric, learner=learner, rollouts=rollouts, rewards=rewards, progress=progress,
            counters=counters, held_out=held_out, loggers=loggers, about=about, groups=groups,
            threads=threads_of(config),
        )  # fmt: skip
        if saved is not None:
            load_checkpoint(parts, saved)
        stop = stack.enter_context(StopOnSignal())  # also while the last games are written
        yield parts, stop
        rollouts.stop()
        fabric.barrier()  # every process has saved its games
        if saved_games is not None:
            saved_games.merge()


def summed_array(fabric: Fabric, values: np.ndarray) -> np.ndarray:
    """Returns the sum of an array over all learners."""
    shared = fabric.all_reduce(torch.from_numpy(values).to(fabric.device), reduce_op="sum")
    return np.asarray(shared.cpu().numpy())


def demos_of(config: FinetuneConfig, policy: AnyConfig) -> tuple[Demos | None, Demos | None]:
    """Returns demonstrations to clone and demonstrations to validate on, checked; None for any not given.

    Raises:
        InputError: If the demonstrations do not fit the policy, or have too few games.
    """
    paths = config.imitation.demos, config.imitation.held_out
    demos, held_out = (None if path is None else Demos.at(path, policy) for path in paths)
    held_out = held_out or demos
    check_splits(config, demos, held_out)
    return demos, held_out


def cores_of(config: FinetuneConfig) -> int:
    """Returns the number of cores that a learner of this machine shares with its rollout workers and its acting."""
    return max(1, usable_cores() // config.devices)


def threads_of(config: FinetuneConfig) -> int:
    """Returns the number of threads for the learner's arithmetic."""
    return config.threads or cores_of(config)


def acting_threads_of(config: FinetuneConfig) -> int:
    """Returns the number of threads for choosing actions: the cores that rollout workers leave, at least 1."""
    return max(1, cores_of(config) - workers_of(config))


def workers_of(config: FinetuneConfig) -> int:
    """Returns the number of rollout workers of each learner; 0 steps the environments in this process."""
    return cores_of(config) if config.workers is None else config.workers


def cores_to_spare(config: FinetuneConfig) -> bool:
    """Returns whether every rollout worker, every acting thread and every learner can have a core of its own."""
    return usable_cores() >= config.devices * (workers_of(config) + 2)


def groups_in_batch(config: FinetuneConfig) -> int:
    """Returns how many env groups are learned from at a time.

    Raises:
        InputError: If the batch has more lanes than there are, or does not consist of whole env groups.
    """
    lanes = max(workers_of(config), 1) * config.env_groups * config.envs
    wanted = config.appo.batch or lanes
    if wanted % config.envs or wanted > lanes:
        raise InputError(
            f"batch: {wanted} lanes; expected a multiple of the {config.envs} environments of a group, at most the "
            f"{lanes} of all"
        )
    return wanted // config.envs


def policy_of(config: FinetuneConfig, saved: Mapping[str, Any] | None) -> AnyPolicy:
    """Returns the policy to begin with or to resume.

    Raises:
        InputError: If there is no such policy, or it cannot do what is asked.
    """
    if saved is not None:
        policy = policy_of_values(saved, config.folder)
    elif config.run and not is_pretrained(load_plain_values(checkpoint_at(config.run[0]))):
        if config.set or config.policy != FinetuneConfig.policy:
            raise InputError("run: the policy is what the checkpoint holds; leave policy and set out")
        policy = load_policy(config.run[0])
    else:
        wanted = preset(config.policy).changed(config.changes)
        policy = Policy(replace(wanted, actions=looked_at(config, wanted.observations).actions))
        if config.run:
            take_encoder(policy, load_pretrained(config.run[0]), config.run[0])
    # Raises if strategies are to be held and the policy has none.
    ActingPolicy(policy, ActingConfig(min_strategy_steps=config.appo.min_strategy_steps))
    return policy


def begun_with(config: FinetuneConfig) -> dict[str, Any]:
    """Returns what is told of the policy that a new run begins with: how many frames it was cloned on, and of what."""
    began = load_plain_values(checkpoint_at(config.run[0])) if config.run else {}
    if not began:
        return {"frames": 0}
    if is_pretrained(began):
        return {"frames": 0, "cloned_on": ""}
    about = began["about"]
    return {"frames": frames_of(began), "cloned_on": about.get("cloned_on", about.get("dataset", ""))}


def check_read(now: Mapping[str, str], before: Mapping[str, str]) -> None:
    """Checks that a resumed run learns by the weights that it has learned by so far; a run's folder may have new ones.

    Args:
        now: By option, a digest of the weights that are read beside the policy's own.
        before: The same when the run began; empty for a run of an earlier release.

    Raises:
        InputError: If weights are others.
    """
    for name, digest in now.items():
        if before.get(name, digest) != digest:
            raise InputError(
                f"{name}: other weights than those that the run has learned by; --{name} names a checkpoint"
            )


def check_core(policy: AnyConfig) -> None:
    """Checks that a policy gives the same outputs in an unroll, from which it learns, as step by step, when it acts.

    Raises:
        InputError: If it does not.
    """
    if policy.is_legacy:
        raise InputError(
            "run: its transformer attends as the published code does, to other steps in an unroll than when it acts; "
            "models import-hihack --no-legacy makes one that can be fine-tuned"
        )


def check_parts(config: FinetuneConfig, policy: AnyConfig) -> None:
    """Checks that a policy has strategies where options are of them.

    Raises:
        InputError: If it has none.
    """
    if policy.strategies:
        return
    options = [f"imitation.{name}" for name in given(config.imitation, "strategy_weight", "head_weight")]
    options += ["appo.freeze"] if "strategy" in (config.appo.freeze or ()) else []
    for name in options:
        raise InputError(f"{name}: is of policies with strategies, and this one is flat")


def looked_at(config: FinetuneConfig, observations: tuple[str, ...]) -> Simulator:
    """Returns the environment, already closed, for looking up its actions and observation keys."""
    simulator = make_simulator(config.env, config.game, observations)
    simulator.close()
    return simulator


def check_environment(config: FinetuneConfig, policy: AnyConfig, seen: tuple[str, ...]) -> None:
    """Checks that environment and policy go together.

    Args:
        config: The options.
        policy: The policy's configuration.
        seen: Observation keys that the policy and the model of progress need.

    Raises:
        InputError: If their actions differ, if the environment shows less than the policy needs or other arrays than
            it declares, or if seeds are given and the environment ignores them.
    """
    simulator = make_simulator(config.env, config.game, seen)
    with closing(simulator):
        actions, shown = simulator.actions, simulator.observation_keys
        if isinstance(simulator, GymnasiumSimulator):
            _check_plays(simulator, config)
    if actions != policy.actions:
        odd = [name for name in (*actions, *policy.actions) if (name in actions) != (name in policy.actions)]
        said = f"they differ in {', '.join(odd[:5])}{' …' * (len(odd) > 5)}" if odd else "they are in another order"
        raise InputError(f"env: {config.env} has {len(actions)} actions, the policy has {len(policy.actions)}; {said}")
    missing = [key for key in seen if key not in shown]
    if missing:
        raise InputError(f"env: the policy needs {', '.join(missing)}; {config.env} shows {', '.join(shown)}")


def _check_plays(simulator: GymnasiumSimulator, config: FinetuneConfig) -> None:
    try:
        keeps = not config.game.seeds or simulator.keeps_to_seeds()
        simulator.reset(0)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"env: {config.env} does not begin ({type(error).__name__}: {first_line(error)})") from error
    if not keeps:
        raise InputError(f"seeds: {config.env} plays another game each time it is reset with the same seed")


def check_splits(config: FinetuneConfig, demos: Demos | None, held_out: Demos | None) -> None:
    """Checks that there are games to train and to validate on.

    Raises:
        InputError: If there are too few games.
    """
    if demos is not None:
        lanes, games = config.imitation.demos_lanes, demos.games("train") // config.learners
        if lanes > games:
            path = config.imitation.demos
            raise InputError(f"demos_lanes: {lanes} lanes are more than the {games} games to train on in {path}")
    if config.validate_every and (held_out is None or not held_out.games("validation")):
        path = config.imitation.held_out or config.imitation.demos
        raise InputError(f"{path}: no game in the validation split; strathack dataset split sets other shares")


def teacher_of(config: FinetuneConfig, policy: AnyConfig, device: torch.device) -> Teacher | None:
    """Returns the teacher, checked; None if none is asked for.

    Raises:
        InputError: If the teacher does not fit the policy.
    """
    if not config.imitation.kickstarts:
        return None
    path = config.imitation.teacher or config.run[0]
    teacher = load_policy(path, device)
    check_teacher(teacher.config, policy, path)
    missing = [key for key in teacher.config.observations if key not in policy.observations]
    if missing:
        raise InputError(f"teacher: {path} needs {', '.join(missing)}, which the policy is not shown")
    return Teacher(teacher)


def saved_games_of(run: Run[FinetuneConfig], policy: AnyConfig, fabric: Fabric) -> SavedGames | None:
    """Returns the folder for games, to be entered by every process; None if games are not saved.

    Raises:
        InputError: If the games cannot be saved, or the folder holds other games.
    """
    config = run.options
    if config.save_games is None:
        return None
    simulator = looked_at(config, policy.observations)
    recorder = recorder_of(config.env, config.game, policy, simulator, run.folder)
    return SavedGames(config.save_games, recorder, first=fabric.is_global_zero, together=fabric.barrier)


@contextmanager
def playing(
    config: FinetuneConfig,
    observations: tuple[str, ...],
    player: InferencePolicy,
    counters: Counters,
    saved_games: SavedGames | None,
    rank: int,
) -> Iterator[Rollouts]:
    """Starts rollout workers, and yields the rollouts that play with them."""
    number = workers_of(config)
    # Every rank and every resumed run plays different games.
    entropy = (config.seed, rank, counters.updates)
    recorder = None if saved_games is None else saved_games.recorder
    recorded = () if recorder is None else recorder.provenance.observations
    lane = LaneSpec(config.env, config.game, observations, entropy, recorded)
    spec = WorkerSpec(
        lane, config.env_groups, config.envs, config.appo.unroll, slots=2, make_record=recorder,
        awake_seconds=AWAKE_SECONDS if cores_to_spare(config) else 0.0,
    )  # fmt: skip
    launcher: Launcher = RayLauncher(number, config.address) if number else ThreadLauncher()
    with ExitStack() as stack:
        workers = RolloutWorkers(spec, max(number, 1), launcher, config.hang_seconds)
        stack.callback(workers.close)
        rollouts = Rollouts(
            workers,
            player,
            threads=acting_threads_of(config),
            on_game=counters.add_game,
            on_shard=(lambda seed, shard: None) if saved_games is None else saved_games.add,
            on_loss=counters.add_loss,
        )
        stack.callback(rollouts.stop)
        yield rollouts


def learner_of(
    config: FinetuneConfig,
    policy: AnyPolicy,
    demos: Demos | None,
    teacher: Teacher | None,
    fabric: Fabric,
    player: InferencePolicy,
) -> Learner:
    """Makes the learner."""
    demonstrations = None
    if demos is not None:
        share = Share(fabric.global_rank, fabric.world_size)
        demonstrations = Demonstrations(
            demos.dataset, policy.config, demos.tables, config.imitation, config.appo.unroll, config.seed, share
        )
    averaged = None if fabric.world_size == 1 else lambda gradient: fabric.all_reduce(gradient, reduce_op="mean")
    half = is_bf16(config.precision, faster=fabric.device.type == "cuda")
    return Learner(
        policy,
        config.appo,
        config.imitation,
        demonstrations=demonstrations,
        teacher=teacher,
        gradients=Gradients(averaged),
        changing=player.updating,
        autocast=lambda: torch.autocast(fabric.device.type, torch.bfloat16) if half else nullcontext(),
    )
