"""Encoders turn frames into vectors, each frame by itself: they take [N, …] and return [N, size].

Much of a screen is the same from frame to frame and from lane to lane. Functions of a few cells are therefore
computed once for each distinct group of cells in a batch, and their results are copied by index
(:mod:`strathack.models.distinct`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (as everywhere)

from strathack.dataset.schema import HUNGER_STATES, SCREEN_COLUMNS, SCREEN_ROWS, BLStat
from strathack.models.config import (
    BLSTATS,
    CHARACTERS,
    PATCH_COLUMNS,
    PATCH_ROWS,
    PRINTABLE,
    EncoderConfig,
    PixelsConfig,
    SymbolsConfig,
)
from strathack.models.corpses import CORPSES, CorpsesEncoder
from strathack.models.distinct import OfDistinct, copied, is_worth_finding
from strathack.models.events import EVENTS, EventsEncoder
from strathack.models.inventory import InventoryEncoder
from strathack.models.lines import top_lines
from strathack.models.marks import Marks
from strathack.models.precision import computed_in
from strathack.models.squares import square_around
from strathack.models.tiles import BLANK, COLORS, TILE, tile_table

Inputs = Mapping[str, Tensor]
"""Observation key → [N, …]; ``previous_action``, u8 [N], 255 where there was none; and what a policy remembers."""

BOTTOM_LINES = 2
SQUARE = 3


def make_encoder(config: EncoderConfig, actions: int) -> nn.Module:
    """Makes the encoder of a configuration.

    Args:
        config: The configuration.
        actions: How many actions there are.
    """
    return PixelsEncoder(config) if isinstance(config, PixelsConfig) else SymbolsEncoder(config, actions)


def screen_cells(inputs: Inputs) -> Tensor:
    """Returns character · 16 + colour of every cell, i16 [N, 24, 80]."""
    return inputs["tty_chars"].short().mul_(COLORS).add_(inputs["tty_colors"] & (COLORS - 1))


def cells_around(cells: Tensor, cursor: Tensor, side: int) -> Tensor:
    """Returns a square of the screen whose cell (side // 2, side // 2) is at the cursor; blank outside the screen.

    Args:
        cells: The screen's cells, i16 [N, 24, 80].
        cursor: ``tty_cursor``, u8 [N, 2]: row, column.
        side: Cells on a side.

    Returns:
        Cells, i64 [N, side, side].
    """
    places, inside = square_around(cursor[:, 0].long(), cursor[:, 1].long(), side, SCREEN_ROWS, SCREEN_COLUMNS)
    around = cells.flatten(1).gather(1, places.flatten(1)).view_as(places)
    return torch.where(inside, around.long(), BLANK)


class MessageEncoder(OfDistinct):
    """Encodes the message line: a linear layer over 80 one-hot characters, as a sum of gathered rows, then a layer.

    Args:
        units: Units of both layers.
        characters: The characters that are told apart; all others, if there are any, are as one.
    """

    def __init__(self, units: int, characters: range = PRINTABLE) -> None:
        super().__init__()
        self.first, self.kinds = characters.start, min(len(characters) + 1, CHARACTERS)
        inputs = SCREEN_COLUMNS * self.kinds
        self.weight = nn.Parameter(torch.empty(inputs, units).uniform_(-(inputs**-0.5), inputs**-0.5))
        self.bias = nn.Parameter(torch.empty(units).uniform_(-(inputs**-0.5), inputs**-0.5))
        self.out = nn.Linear(units, units)

    def forward(self, tty_chars: Tensor, lanes: int | None = None) -> Tensor:
        """From u8 [N, 24, 80] to [N, units]; see :func:`strathack.models.distinct.distinct` for ``lanes``."""
        encoded, which = self.computed("lines", self._of_lines, top_lines(tty_chars), lanes)
        return copied(encoded, which.flatten())

    def _of_lines(self, lines: Tensor) -> Tensor:
        places = torch.arange(SCREEN_COLUMNS, device=lines.device, dtype=torch.int32) * self.kinds
        characters = lines.view(torch.uint8).int() - self.first
        characters = torch.where((characters < 0) | (characters >= self.kinds), self.kinds - 1, characters)
        hidden = F.embedding_bag(characters + places, self.weight, mode="sum") + self.bias
        return F.elu(self.out(F.elu(hidden)))


class BottomLinesEncoder(nn.Module):
    """Encodes the two bottom lines as two channels of 160 characters: the characters' codes, and the digits' values.

    Args:
        units: Units of the last two layers.
    """

    def __init__(self, units: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv1d(2, 32, kernel_size=8, stride=4), nn.ELU(), nn.Conv1d(32, 64, kernel_size=4), nn.ELU()
        )
        length = (BOTTOM_LINES * SCREEN_COLUMNS - 8) // 4 + 1 - 3
        self.layers = nn.Sequential(nn.Linear(64 * length, units), nn.ELU(), nn.Linear(units, units), nn.ELU())

    def forward(self, tty_chars: Tensor) -> Tensor:
        """From u8 [N, 24, 80] to [N, units]."""
        codes = tty_chars[:, -BOTTOM_LINES:].flatten(1).float()
        digits = torch.where((codes > 44) & (codes < 58), (codes - 47) / 10, 0.0)
        return self.layers(self.convolutions(torch.stack([(codes - 32) / 96, digits], 1)).flatten(1))


class TilesEncoder(OfDistinct):
    """Encodes the crop as 6×6 tiles: four convolutions and a layer.

    The first convolution moves by one tile and reaches two pixels into the next, so each of its outputs depends on a
    square of four cells only. On CPUs, the convolution is computed once for each distinct square; elsewhere, each
    cell's part of it is looked up in a table of all cells. The pixels of a whole frame are never made.

    Args:
        crop: Cells on a side.
        channels: Channels of the convolutions.
        units: Units of the last layer.
    """

    def __init__(self, crop: int, channels: tuple[int, int, int, int], units: int) -> None:
        super().__init__()
        self.crop = crop
        self.first = nn.Conv2d(3, channels[0], kernel_size=8, stride=TILE)
        self.rest = nn.Sequential(
            nn.Conv2d(channels[0], channels[1], kernel_size=4, stride=2), nn.ELU(),
            nn.Conv2d(channels[1], channels[2], kernel_size=3, stride=2), nn.ELU(),
            nn.Conv2d(channels[2], channels[3], kernel_size=3), nn.ELU(),
        )  # fmt: skip
        side = (((crop - 1) - 4) // 2 + 1 - 3) // 2 + 1 - 2
        self.out = nn.Linear(channels[3] * side * side, units)
        tiles = torch.from_numpy(tile_table().copy()).reshape(CHARACTERS * COLORS, TILE, TILE, 3)
        self.register_buffer("tiles", tiles.permute(0, 3, 1, 2).contiguous(), persistent=False)

    def forward(self, inputs: Inputs, lanes: int | None = None) -> Tensor:
        """From the screen, or from ``screen_image`` u8 [N, 3, 6 · crop, 6 · crop] if given, to [N, units].

        See :func:`strathack.models.distinct.distinct` for ``lanes``.
        """
        if "screen_image" in inputs:
            hidden = F.elu(self.first(inputs["screen_image"].float() / 255))
        else:
            cells = cells_around(screen_cells(inputs), inputs["tty_cursor"], self.crop)
            found = is_worth_finding(cells.device)
            hidden = self._first_of_distinct(cells, lanes) if found else self._first_looked_up(cells)
        return F.elu(self.out(self.rest(hidden).flatten(1)))

    def _first_looked_up(self, cells: Tensor) -> Tensor:
        """Returns the first convolution's responses, [N, channels, crop − 1, crop − 1], by shapes known beforehand."""
        weight = self.first.weight
        pixels = self.tiles.to(weight.dtype) / 255
        reach = weight.shape[-1]
        # A window reaches over all of one tile, and over the first rows or columns of the next ones.
        spans = (slice(0, TILE), slice(0, TILE)), (slice(TILE, reach), slice(0, reach - TILE))
        tables = [
            F.linear(pixels[..., own, across].flatten(1), weight[..., rows, columns].flatten(1))
            for rows, own in spans
            for columns, across in spans
        ]
        corners = neighbours(cells, 2).flatten(3).int()
        places = corners + torch.arange(4, device=cells.device, dtype=torch.int32) * len(pixels)
        responses = F.embedding_bag(places.view(-1, 4), torch.cat(tables), mode="sum") + self.first.bias
        return F.elu(responses).view(*places.shape[:3], -1).permute(0, 3, 1, 2)

    def _first_of_distinct(self, cells: Tensor, lanes: int | None = None) -> Tensor:
        """Returns the same as :meth:`_first_looked_up`, computed once for each distinct square of cells."""
        responses, which = self.computed("corners", self._first_of_corners, neighbours(cells, 2), lanes)
        return copied(responses, which.flatten()).view(*which.shape, -1).permute(0, 3, 1, 2)

    def _first_of_corners(self, corners: Tensor) -> Tensor:
        pixels = self.tiles[corners].view(-1, 2, 2, 3, TILE, TILE).permute(0, 3, 1, 4, 2, 5)
        pixels = pixels.reshape(-1, 3, 2 * TILE, 2 * TILE)[:, :, :8, :8].flatten(1).to(self.first.weight.dtype) / 255
        return F.elu(F.linear(pixels, self.first.weight.flatten(1), self.first.bias))


class PixelsEncoder(nn.Module):
    """The paper's encoder; see :class:`strathack.models.config.PixelsConfig`.

    Args:
        config: Its configuration.
    """

    def __init__(self, config: PixelsConfig) -> None:
        super().__init__()
        self.config = config
        self.message = MessageEncoder(config.message, range(CHARACTERS))
        self.bottom_lines = BottomLinesEncoder(config.bottom_lines)
        self.screen = TilesEncoder(config.crop, config.channels, config.screen)

    def forward(self, inputs: Inputs, lanes: int | None = None) -> Tensor:
        """From [N, …] to [N, size]: message, bottom lines, screen, previous action; see :class:`SymbolsEncoder`."""
        chars = inputs["tty_chars"]
        parts = [self.message(chars, lanes), self.bottom_lines(chars), self.screen(inputs, lanes)]
        if self.config.previous_action:
            indices = torch.arange(self.config.previous_action, device=chars.device)
            # All zeros where there was no previous action.
            parts.append((inputs["previous_action"].long()[:, None] == indices).to(parts[0].dtype))
        return torch.cat(parts, 1)


class SymbolsEncoder(OfDistinct):
    """Our encoder; see :class:`strathack.models.config.SymbolsConfig`.

    Args:
        config: Its configuration.
        actions: How many actions there are.
    """

    def __init__(self, config: SymbolsConfig, actions: int) -> None:
        super().__init__()
        self.config, self.actions = config, actions
        self.characters = nn.Embedding(CHARACTERS, config.embedding)
        self.colors = nn.Embedding(COLORS, config.embedding)
        if config.marks:
            self.marks = Marks(config.embedding)
        self.crop = _layers(config.embedding, SQUARE**2, config.crop_channels)
        self.crop_out = nn.Linear(config.crop_channels[-1] * config.crop_side**2, config.crop_units)
        self.message = MessageEncoder(config.message)
        if config.screen_units:
            self.screen = _layers(config.embedding, PATCH_ROWS * PATCH_COLUMNS, config.screen_channels)
            rows, columns = config.screen_sides
            self.screen_out = nn.Linear(config.screen_channels[-1] * rows * columns, config.screen_units)
        if config.blstats:
            self.blstats = nn.Linear(BLSTAT_FEATURES, config.blstats)
        if config.previous_action:
            self.previous_action = nn.Embedding(actions + 1, config.previous_action)
        if config.inventory:
            self.inventory = InventoryEncoder(config.inventory)
        if config.corpses:
            self.corpses = CorpsesEncoder(config.corpses)
        if config.events:
            self.events = EventsEncoder(config.events)
        self.out = nn.Linear(sum(config.parts.values()), config.size)

    def forward(self, inputs: Inputs, lanes: int | None = None) -> Tensor:
        """From [N, …] to [N, size]; see :func:`strathack.models.distinct.distinct` for ``lanes``."""
        chars = inputs["tty_chars"]
        table = (self.characters.weight[:, None] + self.colors.weight).flatten(0, 1).to(computed_in(chars.device))
        cells = screen_cells(inputs)
        if self.config.marks:
            cells, table = self.marks.marked(cells, inputs["specials"], len(table)), self.marks.embedded(table)
        around = cells_around(cells, inputs["tty_cursor"], self.config.crop)
        crop = self._convolved("crop", table, neighbours(around, SQUARE), lanes)
        parts = {"crop": F.elu(self.crop_out(crop)), "message": self.message(chars, lanes)}
        if self.config.screen_units:
            screen = self._convolved("screen", table, patches(cells), lanes, cells.dtype)
            parts["screen"] = F.elu(self.screen_out(screen))
        if self.config.blstats:
            parts["blstats"] = F.elu(self.blstats(blstat_features(inputs["blstats"])))
        if self.config.previous_action:
            previous = inputs["previous_action"].long().clamp(max=self.actions)
            parts["previous_action"] = self.previous_action(previous)
        if self.config.inventory:
            parts["inventory"] = self.inventory(inputs["inv_strs"], inputs["inv_letters"], lanes)
        if self.config.corpses:
            parts["corpses"] = self.corpses(inputs[CORPSES])
        if self.config.events:
            parts["events"] = self.events(inputs[EVENTS], inputs["blstats"])
        return F.elu(self.out(torch.cat([parts[name] for name in self.config.parts], 1)))

    def _convolved(
        self, part: str, table: Tensor, windows: Tensor, lanes: int | None, cells: torch.dtype = torch.int64
    ) -> Tensor:
        """Applies convolutions with ELUs, each computed once for every distinct group of cells.

        Args:
            part: The layers: the first takes groups of cells, each further one takes 3×3 outputs of the layer before.
            table: Features of every possible cell, [cells, C].
            windows: Groups of cells, i64 [N, rows, columns, height, width], which may hold several cells in a word.
            lanes: See :func:`strathack.models.distinct.distinct`.
            cells: The type of a cell.

        Returns:
            Outputs of the last layer, [N, rows · columns · C].
        """
        places = torch.empty(0)
        for number, layer in enumerate(self.get_submodule(part)):
            if number:
                windows, cells = neighbours(places.long(), SQUARE), torch.int64
            compute = partial(_applied, layer, table, cells)
            table, places = self.computed(f"{part} {number}", compute, windows, lanes)
        return copied(table, places.flatten()).view(len(places), -1)


def _applied(layer: nn.Module, table: Tensor, cells: torch.dtype, groups: Tensor) -> Tensor:
    """Applies a layer and an ELU to the table's features of the cells of each group."""
    features = copied(table, groups.view(cells).flatten().int())
    return F.elu(layer(features.view(len(groups), -1)))


def _layers(inputs: int, cells: int, channels: tuple[int, ...]) -> nn.ModuleList:
    """Makes a layer over groups of ``cells`` cells, and further layers over 3×3 outputs of the layer before."""
    sizes = [inputs * cells, *(SQUARE**2 * channel for channel in channels[:-1])]
    return nn.ModuleList(nn.Linear(size, channel) for size, channel in zip(sizes, channels, strict=True))


def neighbours(cells: Tensor, side: int) -> Tensor:
    """Returns every square of cells, as a view: [N, rows, columns] to [N, rows − side + 1, columns − …, side, side]."""
    return cells.unfold(1, side, 1).unfold(2, side, 1)


def patches(cells: Tensor) -> Tensor:
    """Splits the screen into patches side by side, as a view.

    Args:
        cells: i16 [N, 24, 80].

    Returns:
        Words of four cells each, so that fewer values are compared, i64 [N, 8, 10, 3, 2].
    """
    words = cells.view(torch.int64)
    width = words.shape[2] * PATCH_COLUMNS // SCREEN_COLUMNS
    return words.unfold(1, PATCH_ROWS, PATCH_ROWS).unfold(2, width, width)


CONDITIONS, DUNGEONS = 13, 8
BLSTAT_FEATURES = BLSTATS + 2 + HUNGER_STATES + CONDITIONS + DUNGEONS


def blstat_features(blstats: Tensor) -> Tensor:
    """Turns bottom-line numbers into features of about unit size.

    The features: every number x as sign(x) · log(1 + |x|) / 4, hit points and energy as shares of their maxima, hunger
    and dungeon as one-hot vectors, conditions as bits.

    Args:
        blstats: i32 [N, 27].

    Returns:
        f32 [N, 57].
    """
    numbers = blstats.float()
    logs = numbers.sign() * numbers.abs().log1p() / 4
    health = numbers[:, BLStat.HP, None] / numbers[:, BLStat.HPMAX, None].clamp(min=1)
    energy = numbers[:, BLStat.ENE, None] / numbers[:, BLStat.ENEMAX, None].clamp(min=1)
    indices = torch.arange(max(HUNGER_STATES, CONDITIONS, DUNGEONS), device=blstats.device)
    hunger = blstats[:, BLStat.HUNGER, None] == indices[:HUNGER_STATES]
    dungeon = blstats[:, BLStat.DNUM, None] == indices[:DUNGEONS]
    conditions = (blstats[:, BLStat.CONDITION, None] >> indices[:CONDITIONS]) & 1
    return torch.cat([logs, health, energy, hunger.float(), conditions.float(), dungeon.float()], 1)
