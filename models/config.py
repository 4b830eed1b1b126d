"""Configurations of policies: a frozen dataclass per part, checked when made, convertible to plain values and back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, get_args

from strathack.dataset.actions import ACTION_NAMES
from strathack.dataset.codec import from_plain, hints_of, to_plain
from strathack.dataset.errors import InputError, near_match
from strathack.dataset.labels import PUBLISHED_STRATEGIES, STRATEGIES
from strathack.dataset.options import check_at_least
from strathack.dataset.schema import LABEL_COLUMNS, OBSERVATIONS, SCREEN_COLUMNS, SCREEN_ROWS

Combine = Literal["mixture", "sampled", "label", "values"]
"""How action heads are combined into one distribution; see :class:`HierarchicalConfig`."""

LABEL_NAMES: Mapping[str, tuple[str, ...]] = {"strategy": STRATEGIES, "hihack_strategy": PUBLISHED_STRATEGIES}
"""Label → its vocabulary, where it is fixed; the vocabulary of ``substrategy`` depends on the dataset."""

BLSTATS = OBSERVATIONS["blstats"].shape[0]

CHARACTERS = 256
PRINTABLE = range(ord(" "), ord("~") + 1)
"""The characters that NetHack's messages are made of: the printable ones of ASCII."""

PATCH_ROWS, PATCH_COLUMNS = 3, 8
"""Size of a patch of the screen in cells, in the encoder ``symbols``; both numbers divide the screen evenly."""


def _check_choice(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise InputError(f"{name}: {value!r} is unknown{near_match(value, known)}")


def _check_share(owner: object, name: str) -> None:
    if not 0 <= getattr(owner, name) < 1:
        raise InputError(f"{name}: {getattr(owner, name)} is no share; expected 0 to below 1")


@dataclass(frozen=True)
class PixelsConfig:
    """The paper's encoder: a crop of the screen as coloured tiles, message and bottom lines as characters.

    Attributes:
        crop: Cells on a side of the square around the cursor.
        message: Units of the message line's two layers.
        bottom_lines: Units of the bottom lines' two layers.
        screen: Units of the screen's last layer.
        channels: Channels of the screen's four convolutions.
        previous_action: Width of the previous action's one-hot vector; 0 leaves it out.
    """

    kind: ClassVar[str] = "pixels"
    observations: ClassVar[tuple[str, ...]] = ("tty_chars", "tty_colors", "tty_cursor")

    crop: int = 18
    message: int = 128
    bottom_lines: int = 128
    screen: int = 512
    channels: tuple[int, int, int, int] = (32, 64, 128, 128)
    previous_action: int = 128

    def __post_init__(self) -> None:
        """Checks every field.

        Raises:
            InputError: If a field is invalid; the message names the field.
        """
        # A smaller crop leaves nothing for the last convolution.
        check_at_least(16, self, "crop")
        check_at_least(1, self, "message", "bottom_lines", "screen", "channels")
        check_at_least(0, self, "previous_action")
        if len(self.channels) != 4:
            raise InputError(f"channels: {len(self.channels)} numbers; expected 4")

    @property
    def size(self) -> int:
        """Elements of an encoded frame."""
        return self.message + self.bottom_lines + self.screen + self.previous_action


@dataclass(frozen=True)
class SymbolsConfig:
    """Our encoder: learned embeddings of characters and colours, over a crop and over the whole screen.

    Attributes:
        crop: Cells on a side of the square around the cursor.
        embedding: Elements of a cell's embedding, which is the sum of its character's and its colour's embedding.
        crop_channels: Channels of the convolutions (3×3) over the crop.
        crop_units: Units of the crop's last layer.
        screen_channels: Channels of the whole screen's layers: the first takes patches of 3×8 cells, each further one
            takes squares of 3×3 outputs of the layer before.
        screen_units: Units of the whole screen's last layer; 0 encodes only the crop.
        message: Units of the message line's two layers.
        blstats: Units of the layer over the bottom-line numbers; 0 leaves them out.
        previous_action: Elements of the previous action's embedding; 0 leaves it out.
        inventory: Units of the inventory's last layer; 0 leaves it out.
        corpses: Units of the layer over what was killed nearby, and how long ago, which a policy remembers
            (:class:`strathack.models.corpses.CorpseMemory`); 0 leaves it out.
        events: Units of the layer over how long ago the last prayer was, together with hit points, hunger and
            lycanthropy, and how long ago a vault's guard, which a policy remembers
            (:class:`strathack.models.events.EventMemory`); 0 leaves it out.
        marks: Whether cells are told apart by what NLE tells beside character and colour: pets, corpses, statues and
            piles (:mod:`strathack.models.marks`), of which screens tell little or nothing.
        size: Elements of an encoded frame.
    """

    kind: ClassVar[str] = "symbols"

    crop: int = 9
    embedding: int = 16
    crop_channels: tuple[int, ...] = (32,)
    crop_units: int = 160
    screen_channels: tuple[int, ...] = (24, 24)
    screen_units: int = 64
    message: int = 96
    blstats: int = 48
    previous_action: int = 32
    inventory: int = 0
    corpses: int = 0
    events: int = 0
    marks: bool = False
    size: int = 192

    def __post_init__(self) -> None:
        """Checks every field.

        Raises:
            InputError: If a field is invalid; the message names the field.
        """
        if self.crop % 2 == 0:
            raise InputError(f"crop: {self.crop} is even; expected an odd number of cells, the cursor in their middle")
        check_at_least(
            1, self, "crop", "embedding", "crop_channels", "crop_units", "screen_channels", "message", "size"
        )
        check_at_least(0, self, "screen_units", "blstats", "previous_action", "inventory", "corpses", "events")
        if not self.crop_channels or self.crop_side < 1:
            raise InputError(f"crop_channels: {len(self.crop_channels)} convolutions for a crop of {self.crop} cells")
        if not self.screen_channels or min(self.screen_sides) < 1:
            raise InputError(f"screen_channels: {len(self.screen_channels)} layers; expected 1 to 4")

    @property
    def crop_side(self) -> int:
        """Cells on a side of the crop after the convolutions."""
        return self.crop - 2 * len(self.crop_channels)

    @property
    def screen_sides(self) -> tuple[int, int]:
        """Rows and columns of patches after the convolutions."""
        lost = 2 * (len(self.screen_channels) - 1)
        return SCREEN_ROWS // PATCH_ROWS - lost, SCREEN_COLUMNS // PATCH_COLUMNS - lost

    @property
    def parts(self) -> dict[str, int]:
        """The parts whose outputs go into the last layer → how many each has, in their order."""
        parts = {
            "crop": self.crop_units, "message": self.message, "screen": self.screen_units, "blstats": self.blstats,
            "previous_action": self.previous_action, "inventory": self.inventory, "corpses": self.corpses,
            "events": self.events,
        }  # fmt: skip
        return {name: units for name, units in parts.items() if units}

    @property
    def remembered(self) -> tuple[str, ...]:
        """The parts that a policy remembers from frame to frame, and tells the encoder at each."""
        return tuple(name for name in ("corpses", "events") if name in self.parts)

    @property
    def observations(self) -> tuple[str, ...]:
        """Observation keys that the encoder needs."""
        blstats = ("blstats",) if self.blstats or self.remembered else ()
        inventory = ("inv_letters", "inv_strs") if self.inventory else ()
        marks = ("specials",) if self.marks else ()
        return ("tty_chars", "tty_colors", "tty_cursor", *blstats, *inventory, *marks)


@dataclass(frozen=True)
class LSTMConfig:
    """A long short-term memory.

    Attributes:
        hidden: Units of each layer.
        layers: Number of layers.
    """

    kind: ClassVar[str] = "lstm"

    hidden: int = 512
    layers: int = 1

    def __post_init__(self) -> None:
        """Checks every field."""
        check_at_least(1, self, "hidden", "layers")


@dataclass(frozen=True)
class TransformerConfig:
    """A causal transformer whose attention reaches back over ``context`` steps, never into another game.

    Attributes:
        layers: Number of layers.
        heads: Number of attention heads.
        feedforward: Units of the feed-forward blocks.
        width: Elements of a token; None takes the encodings as tokens, without a projection.
        context: Steps that each step attends to, itself included.
        norm_first: Whether layers normalise their input (pre-norm) instead of their output.
        activation: Activation of the feed-forward blocks.
        dropout: Share of activations dropped in training.
        positions: ``rotary`` (Su et al., "RoFormer", 2021): relative, with a sliding window. ``sinusoidal`` (Vaswani et
            al., "Attention Is All You Need", 2017), for the paper's weights: each game is cut into blocks of
            ``context`` steps, since these weights were trained for positions 0 to ``context`` − 1 only.
        legacy: Reproduce the published code: in an unroll, a step attends to all earlier steps of the unroll, whichever
            game they belong to; a step on its own attends only to itself.
    """

    kind: ClassVar[str] = "transformer"

    layers: int = 3
    heads: int = 16
    feedforward: int = 2048
    width: int | None = None
    context: int = 32
    norm_first: bool = True
    activation: Literal["relu", "gelu"] = "gelu"
    dropout: float = 0.1
    positions: Literal["rotary", "sinusoidal"] = "rotary"
    legacy: bool = False

    def __post_init__(self) -> None:
        """Checks every field.

        Raises:
            InputError: If a field is invalid; the message names the field.
        """
        check_at_least(1, self, "layers", "heads", "feedforward", "context", "width")
        _check_share(self, "dropout")
        _check_choice("activation", self.activation, ("relu", "gelu"))
        _check_choice("positions", self.positions, ("rotary", "sinusoidal"))
        if self.legacy and self.positions != "sinusoidal":
            raise InputError("legacy: the published code has sinusoidal positions; set positions=sinusoidal")


@dataclass(frozen=True)
class LSTMTransformerConfig:
    """The paper's best core: an LSTM over an encoding, a transformer over another encoding and the LSTM's output.

    Attributes:
        lstm: The LSTM.
        transformer: The transformer.
    """

    kind: ClassVar[str] = "lstm-transformer"

    lstm: LSTMConfig = LSTMConfig()
    transformer: TransformerConfig = TransformerConfig()


@dataclass(frozen=True)
class FlatConfig:
    """One action head.

    Attributes:
        hidden: Units of its hidden layers.
        offered: Whether keys that the top line offers in brackets gain in probability; see
            :class:`strathack.models.prompts.OfferedKeys`.
    """

    kind: ClassVar[str] = "flat"

    hidden: tuple[int, ...] = ()
    offered: bool = False

    def __post_init__(self) -> None:
        """Checks every field."""
        check_at_least(1, self, "hidden")


@dataclass(frozen=True)
class HierarchicalConfig:
    """A strategy head, and an action head for each strategy.

    Attributes:
        label: The label that gives the strategy pursued at each step.
        strategies: Names of the strategies, one for each action head; empty for the label's vocabulary (for
            ``substrategy``, the dataset's).
        hidden: Units of each action head's hidden layer.
        combine: ``mixture``: the exact marginal, Σ p(strategy) · p(action | strategy). ``sampled``: the head of one
            sampled strategy, with the straight-through gradient of a hard Gumbel-softmax, as in the paper. ``label``:
            in training the head of the strategy in the label, otherwise the head of the most likely strategy.
            ``values``: Σ p(strategy) · logits given the strategy, for heads whose logits are the values of actions.
        offered: Whether keys that the top line offers in brackets gain in probability; see
            :class:`strathack.models.prompts.OfferedKeys`.
    """

    kind: ClassVar[str] = "hierarchical"

    label: str = "strategy"
    strategies: tuple[str, ...] = ()
    hidden: int = 256
    combine: Combine = "mixture"
    offered: bool = False

    def __post_init__(self) -> None:
        """Checks every field.

        Raises:
            InputError: If a field is invalid; the message names the field.
        """
        _check_choice("label", self.label, (*LABEL_COLUMNS, "hihack_strategy"))
        _check_choice("combine", self.combine, get_args(Combine))
        check_at_least(1, self, "hidden")
        if not self.strategies:
            object.__setattr__(self, "strategies", LABEL_NAMES.get(self.label, ()))
        if len(set(self.strategies)) < len(self.strategies):
            raise InputError("strategies: a name occurs twice")


EncoderConfig = PixelsConfig | SymbolsConfig
CoreConfig = LSTMConfig | TransformerConfig | LSTMTransformerConfig
HeadsConfig = FlatConfig | HierarchicalConfig


@dataclass(frozen=True)
class PolicyConfig:
    """Configuration of a policy.

    Attributes:
        encoder: Turns a frame into a vector.
        core: Remembers earlier frames.
        heads: Turn the core's output into a distribution over actions.
        actions: The names of the actions, in order of their indices.
    """

    encoder: EncoderConfig = field(default_factory=SymbolsConfig)
    core: CoreConfig = field(default_factory=LSTMConfig)
    heads: HeadsConfig = field(default_factory=HierarchicalConfig)
    actions: tuple[str, ...] = ACTION_NAMES

    def __post_init__(self) -> None:
        """Checks that the parts fit together.

        Raises:
            InputError: If there are no actions, a name occurs twice, or ``previous_action`` is too small for them.
        """
        if not self.actions or len(set(self.actions)) < len(self.actions):
            raise InputError("actions: no names, or one that occurs twice")
        if isinstance(self.encoder, PixelsConfig) and 0 < self.encoder.previous_action < len(self.actions):
            raise InputError(f"previous_action: {self.encoder.previous_action} is below {len(self.actions)} actions")

    @property
    def observations(self) -> tuple[str, ...]:
        """Observation keys that the policy needs."""
        return tuple(self.encoder.observations)

    @property
    def strategies(self) -> tuple[str, ...]:
        """Names of the strategies; none for a flat policy."""
        return self.heads.strategies if isinstance(self.heads, HierarchicalConfig) else ()

    @property
    def label(self) -> str | None:
        """The label that gives the strategy pursued at each step; None for a flat policy."""
        return self.heads.label if isinstance(self.heads, HierarchicalConfig) else None

    @property
    def is_legacy(self) -> bool:
        """Whether it has a transformer that attends as in the published code, so that outputs depend on the unroll."""
        core = self.core.transformer if isinstance(self.core, LSTMTransformerConfig) else self.core
        return isinstance(core, TransformerConfig) and core.legacy

    def to_values(self) -> dict[str, Any]:
        """Returns plain values, each part with its ``kind``."""
        values: dict[str, Any] = to_plain(self)
        return values

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> PolicyConfig:
        """The inverse of :meth:`to_values`; missing fields get their defaults.

        Raises:
            InputError: If a kind, a field or a value is unknown; the message suggests a near match.
        """
        for name in values:
            if name not in hints_of(cls):
                raise InputError(f"policy: {name!r} is unknown{near_match(name, hints_of(cls))}")
        return from_plain(cls, values)

    def changed(self, changes: Sequence[str]) -> PolicyConfig:
        """Returns a configuration with some fields changed.

        Args:
            changes: Each ``part.field=value``: ``core.hidden=256``, ``heads.combine=label``,
                ``encoder.crop_channels=[32,64]``; ``core.kind=transformer`` replaces a part.

        Raises:
            InputError: If a change has another form, or an unknown name, for which the message suggests a near match.
        """
        values = self.to_values()
        for change in changes:
            path, equals, text = change.partition("=")
            *parents, last = path.strip().split(".")
            if not equals or not parents:
                raise InputError(f"set: {change!r} is no part.field=value")
            place: Any = values
            for name in parents:
                if not isinstance(place.get(name), dict):
                    here = [known for known, value in place.items() if isinstance(value, dict)]
                    raise InputError(f"set: {change!r}: {name!r} is unknown{near_match(name, here)}")
                place = place[name]
            if last == "kind":
                # A part of another kind has other fields.
                wanted = {parents[0]: {"kind": text.strip()}}
                fresh = from_plain(PolicyConfig, wanted).to_values()[parents[0]]
                place.clear()
                place.update(fresh)
            elif last == "label" and last in place:
                place["strategies"] = []
            elif last not in place:
                raise InputError(f"set: {change!r}: {last!r} is unknown{near_match(last, place)}")
            place[last] = _value(text.strip())
        return self.from_values(values)

    def with_strategies(self, names: Sequence[str]) -> PolicyConfig:
        """Returns a configuration with other strategies.

        Raises:
            InputError: If this is a flat policy.
        """
        if not isinstance(self.heads, HierarchicalConfig):
            raise InputError("strategies: a flat policy has none")
        return replace(self, heads=replace(self.heads, strategies=tuple(names)))


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
