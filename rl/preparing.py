"""What a run is made of, from its options: each part checked before any process starts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from strathack.collect.running.cluster import first_line
from strathack.dataset import Dataset
from strathack.dataset.errors import InputError
from strathack.dataset.schedule import Share
from strathack.models.acting import ActingConfig, Actor
from strathack.models.cleaved import AnyConfig, AnyPolicy, build_policy, config_from_values
from strathack.models.cloning import LabelTables
from strathack.models.policy import Policy
from strathack.models.presets import preset
from strathack.models.saving import POLICY, load_policy
from strathack.models.training import check_observations, label_tables
from strathack.rl.actors import Actors, Launcher, RayLauncher, ThreadLauncher
from strathack.rl.environments import GymnasiumSimulator, Simulator, make_simulator
from strathack.rl.imitation import Demonstrations, Teacher, check_teacher
from strathack.rl.learner import Gradients, Learner
from strathack.rl.options import FinetuneConfig
from strathack.rl.progress import Counters
from strathack.rl.recording import SavedGames, recorder_of
from strathack.rl.rollouts import Follower, Rollouts
from strathack.rl.serving import ActorSpec
from strathack.rl.stepping import LaneSpec

AWAKE_SECONDS = 0.002
"""How long actors that have a core of their own wait without sleeping."""


def threads_of(config: FinetuneConfig) -> int:
    """Threads of the learner's arithmetic."""
    return config.threads or max(1, (os.cpu_count() or 1) // config.devices)


def acting_threads_of(config: FinetuneConfig) -> int:
    """Threads of the arithmetic by which actions are chosen: what actors leave."""
    return max(1, (os.cpu_count() or 1) // config.devices - actors_of(config))


def actors_of(config: FinetuneConfig) -> int:
    """Actors of each learner; 0 for threads of this process."""
    return max(1, (os.cpu_count() or 1) // config.devices) if config.actors is None else config.actors


def cores_to_spare(config: FinetuneConfig) -> bool:
    """Whether actors, those who act and learners have a core each."""
    return (os.cpu_count() or 1) >= config.devices * (actors_of(config) + 2)


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
        policy = Policy(replace(wanted, actions=looked_at(config, wanted.observations).actions))
    Actor(policy, ActingConfig(hold=config.appo.hold))  # refuses what it cannot hold
    return policy


def looked_at(config: FinetuneConfig, observations: tuple[str, ...]) -> Simulator:
    """The environment, to see its actions and what it shows; it is closed already."""
    simulator = make_simulator(config.env, config.game, observations)
    simulator.close()
    return simulator


def check_environment(config: FinetuneConfig, policy: AnyConfig) -> None:
    """Checks that environment and policy go together.

    Raises:
        InputError: If their actions are others, it shows less than the policy needs or other arrays than it says, or
            seeds are given that it does not keep to.
    """
    simulator = make_simulator(config.env, config.game, policy.observations)
    with closing(simulator):
        actions, shown = simulator.actions, simulator.observation_keys
        if isinstance(simulator, GymnasiumSimulator):
            _check_plays(simulator, config)
    if actions != policy.actions:
        odd = [name for name in (*actions, *policy.actions) if (name in actions) != (name in policy.actions)]
        said = f"they differ in {', '.join(odd[:5])}{' …' * (len(odd) > 5)}" if odd else "they are in another order"
        raise InputError(f"env: {config.env} has {len(actions)} actions, the policy has {len(policy.actions)}; {said}")
    missing = [key for key in policy.observations if key not in shown]
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
    check_observations(policy, dataset, path)
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


def saved_games_of(config: FinetuneConfig, policy: AnyConfig, fabric: Fabric) -> SavedGames | None:
    """Where games are kept; None where they are not. To be entered by every process.

    Raises:
        InputError: If they cannot be, or the folder holds others.
    """
    if config.save_games is None:
        return None
    assert config.out is not None
    simulator = looked_at(config, policy.observations)
    recorder = recorder_of(config.env, config.game, policy, simulator, config.out)
    return SavedGames(config.save_games, recorder, first=fabric.is_global_zero, together=fabric.barrier)


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
    spec = ActorSpec(
        lane, config.slices, config.envs, config.appo.unroll, slots=2, new_record=recorder,
        awake_seconds=AWAKE_SECONDS if cores_to_spare(config) else 0.0,
    )  # fmt: skip
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
