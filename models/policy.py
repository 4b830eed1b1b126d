"""A policy: encoder, core and heads, with one function for a whole unroll and one for a single step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from strathack.dataset.actions import ACTIONS
from strathack.models.config import PolicyConfig, SymbolsConfig
from strathack.models.cores import State, make_core
from strathack.models.corpses import CORPSES, CorpseMemory
from strathack.models.encoders import make_encoder
from strathack.models.events import EVENTS, EventMemory
from strathack.models.heads import PolicyOutput, make_heads
from strathack.models.hub import OnHub
from strathack.models.prompts import OfferedKeys

MEMORIES: Mapping[str, type[nn.Module]] = {CORPSES: CorpseMemory, EVENTS: EventMemory}
"""What can be remembered from frame to frame → the module that does, and tells it to the encoder under that name."""


class Policy(nn.Module, OnHub):
    """An encoder (or one for each of the core's views), a core and heads.

    Args:
        config: The configuration.
    """

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        self.config = config
        self.about = {}
        actions = len(config.actions)
        self.core = make_core(config.core, config.encoder.size)
        self.encoders = nn.ModuleList(make_encoder(config.encoder, actions) for _ in range(self.core.views))
        # Encoders see frames by themselves; what they are to be told of earlier ones is kept beside the core's memory.
        remembered = config.encoder.remembered if isinstance(config.encoder, SymbolsConfig) else ()
        self.memories = nn.ModuleDict({name: MEMORIES[name]() for name in remembered})
        self.heads = make_heads(config.heads, self.core.size, actions)
        # No line offers NUL, which stands for the actions of other environments.
        keys = [ACTIONS.get(name, 0) for name in config.actions]
        self.offered = OfferedKeys(keys) if config.heads.offered else None

    def initial_state(self, lanes: int, device: torch.device | None = None) -> State:
        """Returns the state before a game: name → [B, …].

        Args:
            lanes: Number of lanes, B.
            device: Device of the state; by default that of the weights.
        """
        device = device or next(self.parameters()).device
        state = self.core.initial_state(lanes, device)
        for memory in self.memories.values():
            state |= memory.initial_state(lanes, device)
        return state

    def unroll(
        self,
        inputs: Mapping[str, Tensor],
        state: Mapping[str, Tensor],
        labels: Tensor | None = None,
        starts: Sequence[int] | None = None,
    ) -> tuple[PolicyOutput, State]:
        """Processes an unroll.

        Args:
            inputs: The observations that ``config.observations`` names, [T, B, …] as stored; ``previous_action``, u8
                [T, B], 255 where there was none; ``first``, bool [T, B]: a game starts at this frame. Other entries
                are ignored.
            state: The state before the first frame.
            labels: Indices of the strategies that were pursued, i64 [T, B], below 0 where unknown; used only in
                training with ``combine="label"``.
            starts: The steps at which ``first`` is true in some lane, if the host knows them; otherwise, policies with
                an LSTM look at ``first``, and the host waits for the device.

        Returns:
            Outputs [T, B, …] and the state after the last frame.
        """
        features, gains, after = self.features(inputs, state, starts)
        return self.heads(features, labels, gains), after

    def features(
        self, inputs: Mapping[str, Tensor], state: Mapping[str, Tensor], starts: Sequence[int] | None = None
    ) -> tuple[Tensor, Tensor | None, State]:
        """Processes an unroll up to the heads; the arguments are those of :meth:`unroll`.

        Returns:
            What the heads take, [T, B, size]; what the actions gain by being offered, [T, B, actions] or None; and the
            state after the last frame.
        """
        first = inputs["first"].bool()
        remembered: State = {}
        frames = {name: value.flatten(0, 1) for name, value in inputs.items() if name in self._frame_inputs()}
        for name, memory in self.memories.items():
            told, kept = memory(inputs, state)
            frames[name] = told.flatten(0, 1)
            remembered |= kept
        views = tuple(encoder(frames, first.shape[1]).unflatten(0, first.shape) for encoder in self.encoders)
        features, after = self.core(views, first, state, starts)
        after = after | remembered
        if self.offered is None:
            return features, None, after
        return features, self.offered(frames["tty_chars"], first.shape[1]).unflatten(0, first.shape), after

    def step(self, inputs: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> tuple[PolicyOutput, State]:
        """Processes one step, with the same result as an unroll of one step.

        Args:
            inputs: As for :meth:`unroll`, but [B, …].
            state: The state before the step.

        Returns:
            Outputs [B, …] and the state after the step.
        """
        unrolled = {name: inputs[name][None] for name in (*self._frame_inputs(), "first") if name in inputs}
        output, after = self.unroll(unrolled, state)
        return output.at(0), after

    def forward(
        self,
        inputs: Mapping[str, Tensor],
        state: Mapping[str, Tensor],
        labels: Tensor | None = None,
        starts: Sequence[int] | None = None,
    ) -> tuple[PolicyOutput, State]:
        """The same as :meth:`unroll`."""
        return self.unroll(inputs, state, labels, starts)

    def _frame_inputs(self) -> tuple[str, ...]:
        return (*self.config.observations, "previous_action", "screen_image")
