"""Corpses: where something was killed, and how many turns ago.

A frame does not tell how old a corpse is, and what is eaten fifty turns after its death or later may kill, as may what
was undead. AutoAscend keeps a list; this is what a policy keeps, in its state, and tells its encoder at each frame.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (as everywhere)

from strathack.dataset.schema import SCREEN_COLUMNS, BLStat
from strathack.models.cores import State

CORPSES = "corpses"
"""What the encoder's input is called."""

MAP_ROWS = 21
"""Rows of the map, from the second one of the screen."""
SIDE = 7
"""Cells on a side of the square around the hero about which the encoder is told."""

AGES = (5, 10, 20, 30, 40, 50, 60)
"""Turns at which a corpse passes from one class of ages to the next. AutoAscend eats none that is 50 turns old."""
CODES = 1 + 2 * (len(AGES) + 1)
"""What is told of a cell: nothing, or a class of ages, each of what was killed and of what was destroyed."""

NEVER = -1
_BLANK = ord(" ")
_OBJECTS = b')[%*!?/="+($`0'
_KILLED, _DESTROYED = b"kill", b"destroy"
"""Of what does not live, messages say that it is destroyed; and zombies, mummies and vampires leave old corpses."""
_PREFIX = "corpses."


class CorpseMemory(nn.Module):
    """Where something was killed on the level that the hero is on; it has no weights.

    Something was killed where an object lies since a message told of a kill: a corpse, or a missile that fell upon it.
    Frames whose cursor is not at the hero are passed over, since menus hide the map; but not their messages.

    The state, by names that begin with ``corpses.``: ``shown``, the map as it was seen last, u8 [B, cells], 0 at the
    hero; ``fell``, twice the turn in which an object came to lie in a cell as something was killed, plus one if it was
    destroyed, or −1, i32 [B, cells]; ``told``, whether kills were told of since the map was seen, bool [B, 2]: of what
    lived, of what did not; ``level``, the level, i32 [B].
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("offsets", torch.arange(SIDE) - SIDE // 2, persistent=False)
        self.register_buffer("ages", torch.tensor(AGES), persistent=False)
        objects = torch.zeros(256, dtype=torch.bool)
        objects[list(_OBJECTS)] = True
        self.register_buffer("objects", objects, persistent=False)

    def initial_state(self, lanes: int, device: torch.device | None = None) -> State:
        """Returns the state before a game; for ``device`` see :meth:`strathack.models.policy.Policy.initial_state`."""
        cells = lanes, MAP_ROWS * SCREEN_COLUMNS
        state = {
            "shown": torch.zeros(cells, dtype=torch.uint8, device=device),
            "fell": torch.full(cells, NEVER, dtype=torch.int32, device=device),
            "told": torch.zeros(lanes, 2, dtype=torch.bool, device=device),
            "level": torch.full((lanes,), NEVER, dtype=torch.int32, device=device),
        }
        return {_PREFIX + name: value for name, value in state.items()}

    @torch.no_grad()
    def forward(self, inputs: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> tuple[Tensor, State]:
        """Follows an unroll.

        Args:
            inputs: ``tty_chars``, ``tty_cursor``, ``blstats`` and ``first``, [T, B, …].
            state: The state before the first frame; other entries are ignored.

        Returns:
            What is told of each cell around the hero, u8 [T, B, SIDE²], 0 where nothing was killed or nothing is left;
            and the state after the last frame.
        """
        chars, stats, cursor = inputs["tty_chars"], inputs["blstats"], inputs["tty_cursor"].long()
        x, y, turn = (stats[..., place].long() for place in (BLStat.X, BLStat.Y, BLStat.TIME))
        level = (stats[..., BLStat.DNUM] * 256 + stats[..., BLStat.DLEVEL]).int()
        shown, last, fell, told = (state[_PREFIX + name] for name in ("shown", "level", "fell", "told"))
        new = inputs["first"].bool() | (level != torch.cat([last[None], level[:-1]]))
        seen = (cursor[..., 0] == y + 1) & (cursor[..., 1] == x)
        kills = torch.stack([_says(chars[:, :, 0], word) for word in (_KILLED, _DESTROYED)], -1)
        maps = chars[:, :, 1 : 1 + MAP_ROWS].flatten(2)
        hero = (y * SCREEN_COLUMNS + x).clamp(0, maps.shape[-1] - 1)[..., None]
        others = maps.scatter(2, hero, 0)
        around, inside = self._around(x, y)
        found, fell = [], fell.clone()
        for step in range(len(chars)):
            if _lanes(new[step]) is not None:
                shown, fell = shown.masked_fill(new[step, :, None], 0), fell.masked_fill(new[step, :, None], NEVER)
                told = told & ~new[step, :, None]
            told = told | kills[step]
            tells = told.any(1) & seen[step]
            if (lanes := _lanes(tells)) is not None:
                falls = self._fallen(maps[step, lanes], shown[lanes]) & tells[lanes, None]
                now = 2 * turn[step, lanes, None].int() + told[lanes, 1:]
                fell[lanes] = torch.where(falls, now, fell[lanes])
                told = told & ~tells[:, None]
            shown = torch.where(seen[step, :, None], others[step], shown)
            found.append(fell.gather(1, around[step]))
        # Of the hero's own cell, the map does not tell whether anything lies there.
        left = self._hidden_or_object(others.gather(2, around)) & inside
        codes = self._codes(torch.stack(found), turn[..., None]) * left
        after = {"shown": shown, "fell": fell, "told": told, "level": level[-1]}
        return codes, {_PREFIX + name: value for name, value in after.items()}

    def _fallen(self, now: Tensor, before: Tensor) -> Tensor:
        """Returns where an object lies that did not before, or that a monster hid, in cells that had been seen."""
        return self.objects[now.int()] & ~self.objects[before.int()] & (before > _BLANK)

    def _hidden_or_object(self, cells: Tensor) -> Tensor:
        """Returns in which cells an object is seen or could be hidden by a monster or the hero."""
        letters = ((cells | 32) - ord("a") < 26) | (cells == ord("@")) | (cells == ord(":")) | (cells == 0)
        return letters | self.objects[cells.int()]

    def _around(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the places of the cells around the hero, i64 [T, B, SIDE²], and whether they are on the map."""
        rows, columns = y[..., None] + self.offsets, x[..., None] + self.offsets
        on_rows, on_columns = (rows >= 0) & (rows < MAP_ROWS), (columns >= 0) & (columns < SCREEN_COLUMNS)
        places = rows.clamp(0, MAP_ROWS - 1)[..., :, None] * SCREEN_COLUMNS
        places = places + columns.clamp(0, SCREEN_COLUMNS - 1)[..., None, :]
        return places.flatten(2), (on_rows[..., :, None] & on_columns[..., None, :]).flatten(2)

    def _codes(self, fell: Tensor, turn: Tensor) -> Tensor:
        age = turn - fell.div(2, rounding_mode="floor")
        codes = 1 + 2 * torch.bucketize(age, self.ages, right=True) + fell % 2
        return torch.where(fell == NEVER, 0, codes).to(torch.uint8)


def _says(lines: Tensor, word: bytes) -> Tensor:
    """Returns which lines, u8 [..., W], have a word: bool [...]."""
    width = lines.shape[-1] - len(word) + 1
    found = torch.ones_like(lines[..., :width], dtype=torch.bool)
    for place, letter in enumerate(word):
        found &= lines[..., place : place + width] == letter
    return found.any(-1)


def _lanes(mask: Tensor) -> Tensor | slice | None:
    """Returns the lanes for which a mask, bool [B], holds, or None if there are none.

    On devices for whose answer the host would wait, returns all of them.
    """
    if mask.device.type != "cpu":
        return slice(None)
    lanes = mask.nonzero()[:, 0]
    return lanes if len(lanes) else None


class CorpsesEncoder(nn.Module):
    """Encodes what is told of the cells around the hero: a layer over their codes, one-hot.

    Args:
        units: Units of the layer.
    """

    def __init__(self, units: int) -> None:
        super().__init__()
        self.codes = nn.EmbeddingBag(SIDE**2 * CODES, units, mode="sum")
        nn.init.normal_(self.codes.weight, std=1 / SIDE)
        self.bias = nn.Parameter(torch.zeros(units))
        self.register_buffer("places", torch.arange(SIDE**2, dtype=torch.int32) * CODES, persistent=False)

    def forward(self, codes: Tensor) -> Tensor:
        """From u8 [N, SIDE²] to [N, units]."""
        return F.elu(self.codes(codes + self.places) + self.bias)
