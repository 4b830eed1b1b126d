"""Who is evaluated: from the options of ``evaluate`` to a player, and plain values that tell how it plays."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from strathack.collect.playing.limits import NO_PROGRESS_STEPS
from strathack.dataset.actions import ACTION_NAMES
from strathack.dataset.errors import InputError
from strathack.dataset.labels import STRATEGIES
from strathack.dataset.manifest import sha256_of
from strathack.dataset.options import given
from strathack.dataset.remote.addresses import address_of
from strathack.models.acting import Act, ActingConfig, ActingPolicy
from strathack.models.cleaved import AnyPolicy
from strathack.models.cores import State
from strathack.models.heads import PolicyOutput
from strathack.models.places import checkpoint_at, is_published
from strathack.models.running import usable_gpus
from strathack.models.saving import load_policy, weights_digest
from strathack.rl.evaluating.pool import Evaluable
from strathack.rl.language.asking import Client
from strathack.rl.language.playing import LanguagePlayer
from strathack.rl.options import LANGUAGE_MODEL, EvaluateConfig


class PolicyPlayer:
    """A policy; an :class:`Evaluable`.

    Args:
        policy: The policy.
        acting: How it acts.

    Raises:
        InputError: If strategies are to be held, but the policy is flat.
    """

    def __init__(self, policy: AnyPolicy, acting: ActingConfig) -> None:
        config = policy.config
        self.actions, self.observations, self.strategies = config.actions, config.observations, config.strategies
        self.device = next(policy.parameters()).device
        self._acting = ActingPolicy(policy.eval().requires_grad_(False), acting, remembers=True)

    def initial_state(self, lanes: int) -> State:
        """See :class:`Player`."""
        return self._acting.initial_state(lanes)

    def act(self, inputs: Mapping[str, Tensor], state: State, uniforms: Tensor | None = None) -> tuple[Act, State]:
        """See :class:`Player`."""
        return self._acting.act(inputs, state, uniforms)


class RandomPlayer:
    """Draws every action with the same probability; an :class:`Evaluable`.

    Args:
        actions: The names of its actions.
    """

    observations: tuple[str, ...] = ("blstats",)
    strategies: tuple[str, ...] = ()
    device = torch.device("cpu")

    def __init__(self, actions: tuple[str, ...]) -> None:
        self.actions = actions

    def initial_state(self, lanes: int) -> State:
        """Returns an empty state."""
        return {}

    def act(self, inputs: Mapping[str, Tensor], state: State, uniforms: Tensor | None = None) -> tuple[Act, State]:
        """See :class:`Player`."""
        lanes = len(inputs["first"])
        drawn = torch.rand(lanes) if uniforms is None else uniforms[:, 1]
        action = (drawn * len(self.actions)).long()
        output = PolicyOutput(torch.zeros(len(action), len(self.actions)), torch.zeros(len(action)))
        return Act(action, None, output.action_logits.log_softmax(-1)[:, 0], None, output), {}


def player_of(config: EvaluateConfig) -> tuple[Evaluable, Mapping[str, Any]] | None:
    """Returns the player, and plain values that decide how it plays; None for a demonstrator, which plays by itself.

    Raises:
        InputError: If there is no such player, or it cannot do what is asked.
    """
    what = config.what
    path = Path(what)
    if what == "random":
        _refuse_acting(config, "random")
        return RandomPlayer(ACTION_NAMES), {"demonstrator": what}
    elsewhere = address_of(path) is not None
    if what == "autoascend" or (":" in what and not elsewhere and not path.exists()) or (path / "bot.py").is_file():
        _refuse_acting(config, "a demonstrator")
        if config.protocol is not None and config.no_progress != NO_PROGRESS_STEPS:
            raise InputError(
                f"protocol: {config.protocol} ends games after {config.no_progress} steps without a turn, a "
                f"demonstrator's end after {NO_PROGRESS_STEPS}"
            )
        return None
    if not (elsewhere or path.exists() or is_published(path)):
        raise InputError(
            f"what: {what!r} is no checkpoint, no run's folder, no trained policy's name, no bot's folder, and neither "
            "autoascend nor random"
        )
    return _policy_of(config, path)


def _policy_of(config: EvaluateConfig, path: Path) -> tuple[PolicyPlayer, Mapping[str, Any]]:
    checkpoint = checkpoint_at(path)
    policy = load_policy(checkpoint, "cuda" if usable_gpus(config.device) else "cpu")
    about = policy.about
    temperature = 1.0 if config.greedy else config.temperature or about.get("temperature", 1.0)
    own_patience = 0 if config.greedy else about.get("patience", 0)
    patience = own_patience if config.patience is None else config.patience
    acting = ActingConfig(config.greedy, config.min_strategy_steps, temperature, patience)
    if address_of(path) is not None:
        named = config.what.removeprefix("hf://")
    else:
        named = (checkpoint.parent if path.is_dir() else checkpoint).resolve().name
    settings = {
        "demonstrator": f"policy {named}",
        "checkpoint_sha256": sha256_of(checkpoint),
        "weights_sha256": weights_digest(policy),
        "greedy": config.greedy,
        "hold": config.min_strategy_steps,  # the option's old name, as older evaluations have it
        # Which older evaluations do not have.
        **({} if temperature == 1 else {"temperature": temperature}),
        **({"patience": patience} if patience else {}),
    }
    return PolicyPlayer(policy, acting), settings


def language_model_of(config: EvaluateConfig) -> tuple[LanguagePlayer, Mapping[str, Any]]:
    """Returns a language model as a player, and plain values that decide how it plays.

    Raises:
        InputError: If the extra ``text`` is not installed, the model cannot be reached, or it cannot do what is asked.
    """
    try:
        from strathack.rl.language.clients import LocalClient, ServerClient
    except ImportError as error:
        raise InputError(
            f"what: language models need the extra text, pip install 'strathack[text]' ({error})"
        ) from None
    for name in ("patience", "min_strategy_steps"):
        if getattr(config, name):
            raise InputError(f"{name}: is for policies; a language model has no such choice")
    where = config.what.removeprefix(LANGUAGE_MODEL)
    temperature = 0.0 if config.greedy else config.temperature or 1.0
    client: Client
    which: dict[str, str] = {}
    if "://" in where:
        client = ServerClient(where, config.model, config.language, temperature, config.answer_tokens)
        name = config.model
    else:
        if config.model:
            raise InputError(f"model: is a name on a server; {where} is a folder, which has one model")
        for option in given(config.language, "timeout", "tries", "key_from"):
            raise InputError(f"language.{option}: is for servers; {where} is a folder")
        device = "cuda" if usable_gpus(config.device) else "cpu"
        client = LocalClient(Path(where), temperature, config.answer_tokens, device, chats=config.prompt == "balrog")
        name = Path(where).resolve().name
        which = {"model_sha256": digest_of_model(Path(where))}
    settings = {
        "demonstrator": f"llm {name}", "prompt": config.prompt, "temperature": temperature,
        "history": config.language.history, "dialect": config.language.dialect, "max_tokens": config.answer_tokens,
        **which,
    }  # fmt: skip
    strategies = STRATEGIES if config.prompt == "diff" else ()
    return LanguagePlayer(client, config.prompt, config.language, strategies, config.games_folder), settings


def digest_of_model(folder: Path) -> str:
    """Returns what a model in a folder is told apart by: a digest of its weights, its settings and its tokenizer."""
    kinds = ("*.safetensors", "*.bin", "*.json", "*.jinja", "*.model", "*.txt")
    names = sorted(path for kind in kinds for path in folder.glob(kind))
    told = "\n".join(f"{path.name} {sha256_of(path)}" for path in names)
    return hashlib.sha256(told.encode()).hexdigest()


def _refuse_acting(config: EvaluateConfig, who: str) -> None:
    for name in given(config, "device"):
        raise InputError(f"{name}: is for policies; {who} needs none")
    for name in ("greedy", "temperature", "patience", "min_strategy_steps"):
        if getattr(config, name) and not (name == "greedy" and config.protocol):
            raise InputError(f"{name}: is for policies; {who} has no such choice")
