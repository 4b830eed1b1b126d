"""Cores, a policy's memory: each takes a whole unroll [T, B, …] and a state, and returns the same as single steps.

A state is a dictionary of tensors whose first dimension is the lane. At the first frame of a game, cores ignore the
memory of everything before it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (as everywhere)

from strathack.dataset.errors import InputError
from strathack.models.config import CoreConfig, LSTMConfig, LSTMTransformerConfig, TransformerConfig
from strathack.models.precision import computed_in

State = dict[str, Tensor]
"""Name → [B, …]."""


class Core(nn.Module):
    """Base class of cores.

    Attributes:
        views: How many encodings of each frame the core takes.
        size: Elements of the core's output.
    """

    views: int = 1
    size: int

    def initial_state(self, lanes: int, device: torch.device | None = None) -> State:
        """Returns the state before a game."""
        raise NotImplementedError

    def forward(
        self,
        views: tuple[Tensor, ...],
        first: Tensor,
        state: Mapping[str, Tensor],
        starts: Sequence[int] | None = None,
    ) -> tuple[Tensor, State]:
        """Processes an unroll.

        Args:
            views: Encodings, each [T, B, size of the encoding].
            first: Whether a game starts at a step, bool [T, B].
            state: The state before the first step.
            starts: The steps at which a game starts in some lane, if the host knows them.

        Returns:
            Outputs [T, B, size] and the state after the last step.
        """
        raise NotImplementedError


def make_core(config: CoreConfig, inputs: int) -> Core:
    """Makes the core of a configuration.

    Args:
        config: The configuration.
        inputs: Elements of an encoding.
    """
    if isinstance(config, LSTMConfig):
        return LSTMCore(config, inputs)
    if isinstance(config, TransformerConfig):
        return TransformerCore(config, inputs)
    return LSTMTransformerCore(config, inputs)


class LSTMCore(Core):
    """An LSTM, called once for each stretch of steps between starts of games in any lane.

    Args:
        config: Its configuration.
        inputs: Elements of an encoding.
    """

    def __init__(self, config: LSTMConfig, inputs: int) -> None:
        super().__init__()
        self.config = config
        self.size = config.hidden
        self.lstm = nn.LSTM(inputs, config.hidden, config.layers)

    def initial_state(self, lanes: int, device: torch.device | None = None) -> State:
        """Returns zeros: ``h`` and ``c``, [B, layers, hidden]."""
        shape = lanes, self.config.layers, self.config.hidden
        return {name: torch.zeros(shape, device=device) for name in ("h", "c")}

    def forward(
        self,
        views: tuple[Tensor, ...],
        first: Tensor,
        state: Mapping[str, Tensor],
        starts: Sequence[int] | None = None,
    ) -> tuple[Tensor, State]:
        """See :meth:`Core.forward`."""
        (inputs,) = views
        h, c = (state[name].transpose(0, 1) for name in ("h", "c"))
        if len(inputs) == 1:
            return self._step(inputs[0], torch.where(first[0, :, None], 0, h), torch.where(first[0, :, None], 0, c))
        if starts is None:
            starts = first.any(1).nonzero().flatten().tolist()
        cuts = [step for step in starts if step]
        # In 32 bits on GPUs even under autocast, which would choose 16-bit floats of the wrong kind for an LSTM.
        dtype = computed_in(inputs.device) if inputs.device.type == "cpu" else torch.float32
        outputs = []
        with torch.autocast(inputs.device.type, enabled=False):
            inputs, run = inputs.to(dtype), self.lstm if dtype is torch.float32 else self._in_half_precision(dtype)
            for start, stop in zip([0, *cuts], [*cuts, len(inputs)], strict=True):
                kept = ~first[start, :, None]
                h, c = (torch.where(kept, memory, 0).to(dtype).contiguous() for memory in (h, c))
                output, (h, c) = run(inputs[start:stop], (h, c))
                outputs.append(output)
        return torch.cat(outputs), {"h": h.float().transpose(0, 1), "c": c.float().transpose(0, 1)}

    def _in_half_precision(self, dtype: torch.dtype) -> Callable[[Tensor, tuple[Tensor, Tensor]], Any]:
        """Returns the LSTM with weights of another type, all of an even number of inputs.

        oneDNN multiplies pairs of 16-bit numbers; with an odd number of inputs its LSTM is three times as slow.
        """
        odd = self.lstm.input_size % 2
        weights = [weight.to(dtype) for layer in self.lstm.all_weights for weight in layer]
        weights[0] = F.pad(weights[0], (0, odd))

        def run(inputs: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
            layers = self.lstm.num_layers
            output, h, c = torch.lstm(
                F.pad(inputs, (0, odd)), state, weights, True, layers, 0.0, self.training, False, False
            )
            return output, (h, c)

        return run

    def _step(self, inputs: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, State]:
        """Computes one step without the overhead of a whole stretch: about 1.5 times as fast on CPUs."""
        output, memories = inputs, []
        with torch.autocast(inputs.device.type, enabled=False):
            for layer, memory in enumerate(zip(h.float(), c.float(), strict=True)):
                memories.append(torch.lstm_cell(output.float(), memory, *self.lstm.all_weights[layer]))
                output = memories[-1][0]
        after = {
            name: torch.stack(parts, 1) for name, parts in zip(("h", "c"), zip(*memories, strict=True), strict=True)
        }
        return output[None], after


class TransformerCore(Core):
    """A transformer with a memory: each layer's attention keys and values of the last ``context`` − 1 steps.

    Args:
        config: Its configuration.
        inputs: Elements of an encoding.

    Raises:
        InputError: If the width does not split into heads of even size.
    """

    def __init__(self, config: TransformerConfig, inputs: int) -> None:
        super().__init__()
        self.config = config
        self.size = config.width or inputs
        if self.size % (2 * config.heads):
            raise InputError(f"core: a width of {self.size} does not split into {config.heads} heads of even size")
        self.project = nn.Identity() if config.width is None else nn.Linear(inputs, config.width)
        self.layers = nn.ModuleList(TransformerLayer(config, self.size) for _ in range(config.layers))

    def initial_state(self, lanes: int, device: torch.device | None = None) -> State:
        """``keys`` and ``values`` [B, layers, context − 1, size], ``age`` i64 [B]: steps of this game so far."""
        if self.config.legacy:
            return {}
        shape = lanes, self.config.layers, self.config.context - 1, self.size
        memory = {name: torch.zeros(shape, device=device) for name in ("keys", "values")}
        return memory | {"age": torch.zeros(lanes, dtype=torch.long, device=device)}

    def forward(
        self,
        views: tuple[Tensor, ...],
        first: Tensor,
        state: Mapping[str, Tensor],
        starts: Sequence[int] | None = None,
    ) -> tuple[Tensor, State]:
        """See :meth:`Core.forward`."""
        tokens = self.project(views[0]).transpose(0, 1)
        if self.config.legacy:
            return self._legacy(tokens), {}
        memory = self.config.context - 1
        ages = steps_since(first, state["age"])
        if self.config.positions == "sinusoidal":
            places = ages % self.config.context
            tokens = tokens + sinusoids(places.t(), self.size)
            mask = attention_mask(places == 0, places[0], memory, self.config.context)
        else:
            mask = attention_mask(first, ages[0].clamp(max=memory), memory, self.config.context)
        keys: list[Tensor] = []
        values: list[Tensor] = []
        for number, layer in enumerate(self.layers):
            tokens, all_keys, all_values = layer(
                tokens, mask[:, None], state["keys"][:, number], state["values"][:, number]
            )
            keys.append(all_keys[:, all_keys.shape[1] - memory :])
            values.append(all_values[:, all_values.shape[1] - memory :])
        after = {"keys": torch.stack(keys, 1), "values": torch.stack(values, 1), "age": ages[-1] + 1}
        return tokens.transpose(0, 1), after

    def _legacy(self, tokens: Tensor) -> Tensor:
        lanes, steps, size = tokens.shape
        tokens = tokens + sinusoids(torch.arange(steps, device=tokens.device), size)
        mask = torch.ones(steps, steps, dtype=torch.bool, device=tokens.device).tril()
        nothing = tokens.new_zeros(lanes, 0, size)
        for layer in self.layers:
            tokens, _, _ = layer(tokens, mask, nothing, nothing)
        return tokens.transpose(0, 1)


def steps_since(first: Tensor, age: Tensor) -> Tensor:
    """Returns how many steps of the same game came before each step.

    Args:
        first: Whether a game starts at a step, bool [T, B].
        age: Steps of the current game before the unroll, i64 [B].

    Returns:
        i64 [T, B].
    """
    steps = torch.arange(len(first), device=first.device)[:, None]
    start = torch.where(first, steps, -1).cummax(0).values
    return torch.where(start < 0, steps + age, steps - start)


def attention_mask(starts: Tensor, kept: Tensor, memory: int, context: int) -> Tensor:
    """Returns which steps may attend to which.

    Args:
        starts: Whether this step and later ones may not attend to steps before it, bool [T, B].
        kept: How many steps of the memory may be attended to, i64 [B].
        memory: Steps in the memory.
        context: How many steps each step may attend to, itself included.

    Returns:
        bool [B, T, memory + T]: the memory's steps come first, oldest first.
    """
    steps = len(starts)
    part = F.pad(starts.long().cumsum(0).t(), (memory, 0))
    places = torch.arange(memory + steps, device=starts.device)
    usable = places >= memory - kept[:, None]
    distance = places[memory:, None] - places
    within = (distance >= 0) & (distance < context)
    return within & usable[:, None] & (part[:, memory:, None] == part[:, None])


def sinusoids(places: Tensor, size: int) -> Tensor:
    """Returns sinusoidal positions (Vaswani et al., 2017, section 3.5): sines at even elements, cosines at odd ones.

    Args:
        places: Positions, [...].
        size: Elements of an encoding.

    Returns:
        f32 [..., size].
    """
    rates = torch.exp(torch.arange(0, size, 2, device=places.device) * (-math.log(10000.0) / size))
    angles = places[..., None] * rates
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(-2)


def rotated(vectors: Tensor, offset: int) -> Tensor:
    """Applies rotary positions (Su et al., 2021): turns elements (i, i + half) by an angle proportional to the place.

    Args:
        vectors: [B, heads, S, even number of elements].
        offset: Place of the first vector.
    """
    half = vectors.shape[-1] // 2
    rates = 10000.0 ** (-torch.arange(half, device=vectors.device) / half)
    angles = (torch.arange(vectors.shape[2], device=vectors.device) + offset)[:, None] * rates
    sine, cosine = angles.sin(), angles.cos()
    left, right = vectors.float().split(half, -1)
    return torch.cat([left * cosine - right * sine, left * sine + right * cosine], -1).to(vectors.dtype)


class TransformerLayer(nn.Module):
    """Attention over a memory and the unroll, then a feed-forward block.

    Args:
        config: The transformer's configuration.
        size: Elements of a token.
    """

    def __init__(self, config: TransformerConfig, size: int) -> None:
        super().__init__()
        self.config = config
        self.attention_in = nn.Linear(size, 3 * size)
        self.attention_out = nn.Linear(size, size)
        self.feedforward_in = nn.Linear(size, config.feedforward)
        self.feedforward_out = nn.Linear(config.feedforward, size)
        self.attention_norm = nn.LayerNorm(size)
        self.feedforward_norm = nn.LayerNorm(size)
        self.dropout = nn.Dropout(config.dropout)
        self.activation = nn.GELU() if config.activation == "gelu" else nn.ReLU()

    def forward(self, tokens: Tensor, mask: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Applies the layer.

        Args:
            tokens: [B, T, size].
            mask: Which steps may be attended to, bool [B, 1, T, M + T] or [T, M + T].
            keys: Attention keys of the memory, [B, M, size].
            values: Attention values of the memory, [B, M, size].

        Returns:
            Tokens [B, T, size], and the keys and values of the memory and the tokens [B, M + T, size].
        """
        if self.config.norm_first:
            attended, keys, values = self._attend(self.attention_norm(tokens), mask, keys, values)
            tokens = tokens + attended
            return tokens + self._feed(self.feedforward_norm(tokens)), keys, values
        attended, keys, values = self._attend(tokens, mask, keys, values)
        tokens = self.attention_norm(tokens + attended)
        return self.feedforward_norm(tokens + self._feed(tokens)), keys, values

    def _attend(self, tokens: Tensor, mask: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        queries, new_keys, new_values = self.attention_in(tokens).chunk(3, -1)
        memory = keys.shape[1]
        keys, values = torch.cat([keys.to(new_keys), new_keys], 1), torch.cat([values.to(new_values), new_values], 1)
        q, k, v = (part.unflatten(-1, (self.config.heads, -1)).transpose(1, 2) for part in (queries, keys, values))
        if self.config.positions == "rotary":
            q, k = rotated(q, memory), rotated(k, 0)
        share = self.dropout.p if self.training else 0.0
        attended = F.scaled_dot_product_attention(q, k, v, mask, dropout_p=share)
        return self.dropout(self.attention_out(attended.transpose(1, 2).flatten(2))), keys, values

    def _feed(self, tokens: Tensor) -> Tensor:
        hidden = self.dropout(self.activation(self.feedforward_in(tokens)))
        return self.dropout(self.feedforward_out(hidden))


class LSTMTransformerCore(Core):
    """An LSTM over the first view; a transformer over the second view joined with the LSTM's output.

    Args:
        config: Its configuration.
        inputs: Elements of an encoding.
    """

    views = 2

    def __init__(self, config: LSTMTransformerConfig, inputs: int) -> None:
        super().__init__()
        self.lstm = LSTMCore(config.lstm, inputs)
        self.transformer = TransformerCore(config.transformer, inputs + self.lstm.size)
        self.size = self.transformer.size

    def initial_state(self, lanes: int, device: torch.device | None = None) -> State:
        """Returns the states of the LSTM and the transformer, joined."""
        return self.lstm.initial_state(lanes, device) | self.transformer.initial_state(lanes, device)

    def forward(
        self,
        views: tuple[Tensor, ...],
        first: Tensor,
        state: Mapping[str, Tensor],
        starts: Sequence[int] | None = None,
    ) -> tuple[Tensor, State]:
        """See :meth:`Core.forward`."""
        remembered, lstm_state = self.lstm(views[:1], first, state, starts)
        tokens = torch.cat([views[1], remembered], -1)
        outputs, transformer_state = self.transformer((tokens,), first, state, starts)
        return outputs, lstm_state | transformer_state
