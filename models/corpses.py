"""Corpses: where something was killed, how many turns ago, and whether it is what a message names.

A frame does not tell how old a corpse is, and what is eaten fifty turns after its death or later may kill, as may what
was undead. AutoAscend keeps a list; this is what a policy keeps, in its state, and tells its encoder at each frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (as everywhere)

from strathack.dataset.schema import OBSERVATIONS, SCREEN_COLUMNS, BLStat
from strathack.models.cores import State
from strathack.models.lines import has_words, places_of, windows_of
from strathack.models.squares import square_around

CORPSES = "corpses"
"""What the encoder's input is called."""

MAP_ROWS = OBSERVATIONS["glyphs"].shape[0]
"""Rows of the map, from the second one of the screen."""
SIDE = 7
"""Cells on a side of the square around the hero about which the encoder is told."""

AGES = (5, 10, 20, 30, 40, 50, 60)
"""Turns at which a corpse passes from one class of ages to the next. AutoAscend eats none that is 50 turns old."""
FALLS = 4
"""Kinds of what fell: killed or destroyed, each where nothing was known to lie, or upon what lay there."""
CODES = 1 + FALLS * (len(AGES) + 1)
"""What is told of a cell: nothing, or a class of ages, each of every kind."""

SAME, OTHER, UNKNOWN = COMPARED = 1, 2, 3
"""What is told where a message names a corpse: what fell at the hero is called so, otherwise, or is not known."""

NEVER = -1
LAY = -2
"""Stands for an object that did not fall in a kill, as far as is known; below it stands what fell unseen."""
_OBJECTS = b')[%*!?/="+($`0'
_MONSTERS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ@&':;~"
_FLOOR = b".#"
_CORRIDOR = ord("#")
_HERO = 0
"""Stands for the hero in maps that were seen, as something else may lie there."""
_KILLED, _DESTROYED = b" kill", b" destroy"
"""Of what does not live, messages say that it is destroyed; and zombies, mummies and vampires leave old corpses."""
_SPACE, _EXCLAMATION, _STOP = map(ord, " !.")
_IS, _CORPSE = b" is", b" corpse"
_WORD = 8
"""Letters of a word by which words are compared: as many as an integer holds."""
_TERRAIN = b"known terrain"
"""Said of a map without objects and monsters, with the cursor at the hero."""
_PREFIX = "corpses."


@dataclass(frozen=True)
class _Frames:
    """What the frames of an unroll tell, each by itself.

    Attributes:
        turn: i32 [T, B].
        level: A number of the level, i32 [T, B].
        new: Whether it is the first frame of a game or a level, bool [T, B].
        seen: Whether it shows the map, bool [T, B].
        kills: Whether its message tells of a kill, and of a destruction, bool [T, B, 2].
        killed: The last word of what its message says was killed, see :func:`_word_before`, i64 [T, B].
        named: The last word before "corpse" in its message, i64 [T, B].
        maps: The map's cells, u8 [T, B, cells].
        shown: The same, 0 at the hero.
        hero: The hero's place, i64 [T, B, 1].
        around: The places of the cells around the hero, i64 [T, B, SIDE²].
        inside: Whether these are on the map, bool [T, B, SIDE²].
        gone: Whether nothing is seen there, nor could be hidden there, bool [T, B, SIDE²].
        lies: Whether an object is seen there, bool [T, B, SIDE²].
    """

    turn: Tensor
    level: Tensor
    new: Tensor
    seen: Tensor
    kills: Tensor
    killed: Tensor
    named: Tensor
    maps: Tensor
    shown: Tensor
    hero: Tensor
    around: Tensor
    inside: Tensor
    gone: Tensor
    lies: Tensor


class CorpseMemory(nn.Module):
    """Where something was killed on the level that the hero is on; it has no weights.

    Something was killed where an object lies since a message told of a kill, and a monster or bare floor was seen
    before: a corpse, or a missile that fell upon it. It is forgotten when nothing is seen there any more. Corridors are
    dark: where a monster was seen in one, and none is in the frame that tells of a kill, an object that is seen there
    later fell then, unless nothing was seen from beside it. Frames whose
    cursor is not at the hero are passed over, since menus hide the map; but not their messages, of which the top line
    is read. What is killed upon an old corpse may leave none, and the old one be taken for it: so it is told apart, as
    far as an object was seen there near the hero. An old corpse is taken for a new one, too, if it was not, or if a
    monster uncovers it in the frame that tells of a kill elsewhere. Where a message names a corpse, at the hero, it is
    told whether what fell there is called so, as far as a word's last eight letters tell.

    The state, by names that begin with ``corpses.``: ``shown``, the map as it was seen last, u8 [B, cells], 0 at the
    hero; ``fell``, the turn in which an object came to lie in a cell as something was killed, and its kind, see
    :func:`_packed`; or −2 if an object was seen there else, −1 if none, less if what may have fallen was not seen, see
    :func:`_unseen`, i32 [B, cells]; ``told``, whether kills were told of since the map was seen, bool [B, 2]: of what
    lived, of what did not; ``killed``, the last word of what was killed then, i64 [B]; ``called``, the word of what
    fell in each cell, i64 [B, cells]; ``level``, the level, i32 [B].
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("ages", torch.tensor(AGES, dtype=torch.int32), persistent=False)
        offsets = (torch.arange(SIDE) - SIDE // 2).abs()
        self.register_buffer("beside", (torch.maximum(offsets[:, None], offsets) <= 1).flatten(), persistent=False)
        self.register_buffer("objects", _table(_OBJECTS), persistent=False)
        self.register_buffer("bare", _table(_MONSTERS + _FLOOR), persistent=False)
        self.register_buffer("monsters", _table(_MONSTERS), persistent=False)
        self.register_buffer("covered", _table(_OBJECTS + _MONSTERS + bytes([_HERO])), persistent=False)

    def initial_state(self, lanes: int, device: torch.device | None = None) -> State:
        """Returns the state before a game; for ``device`` see :meth:`strathack.models.policy.Policy.initial_state`."""
        cells = lanes, MAP_ROWS * SCREEN_COLUMNS
        state = {
            "shown": torch.zeros(cells, dtype=torch.uint8, device=device),
            "fell": torch.full(cells, NEVER, dtype=torch.int32, device=device),
            "told": torch.zeros(lanes, 2, dtype=torch.bool, device=device),
            "killed": torch.zeros(lanes, dtype=torch.int64, device=device),
            "called": torch.zeros(cells, dtype=torch.int64, device=device),
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
            What is told, u8 [T, B, SIDE² + 1]: of each cell around the hero, 0 where nothing is known to have been
            killed or nothing is left; and of the corpse that a message names, 0 if there is none. And the state after
            the last frame.
        """
        frames = self._looked_at(inputs, state[f"{_PREFIX}level"])
        own = {name.removeprefix(_PREFIX): value for name, value in state.items() if name.startswith(_PREFIX)}
        fell, called, after = self._followed(frames, own)
        codes = self._codes(fell, frames.turn[..., None]) * frames.inside
        here = fell[..., SIDE**2 // 2] >= 0
        compared = torch.where(called == frames.named, SAME, OTHER).masked_fill(~here | (called == 0), UNKNOWN)
        compared = compared.masked_fill(frames.named == 0, 0).to(torch.uint8)
        return torch.cat([codes, compared[..., None]], -1), {_PREFIX + name: value for name, value in after.items()}

    def _looked_at(self, inputs: Mapping[str, Tensor], level_before: Tensor) -> _Frames:
        """Returns what each frame tells by itself."""
        chars, stats, cursor = inputs["tty_chars"], inputs["blstats"], inputs["tty_cursor"].long()
        x, y, turn = (stats[..., place].long() for place in (BLStat.X, BLStat.Y, BLStat.TIME))
        level = (stats[..., BLStat.DNUM] * 256 + stats[..., BLStat.DLEVEL]).int()
        top = chars[:, :, 0]
        windows = windows_of(top)
        seen = (cursor[..., 0] == y + 1) & (cursor[..., 1] == x) & ~has_words(_TERRAIN, windows)
        maps = chars[:, :, 1 : 1 + MAP_ROWS].flatten(2)
        hero = (y * SCREEN_COLUMNS + x).clamp(0, maps.shape[-1] - 1)[..., None]
        shown = maps.scatter(2, hero, _HERO)
        around, inside = (cells.flatten(2) for cells in square_around(y, x, SIDE, MAP_ROWS, SCREEN_COLUMNS))
        near = shown.gather(2, around).int()
        kills = [places_of(word, windows) for word in (_KILLED, _DESTROYED)]
        return _Frames(
            turn=turn.int(),
            level=level,
            new=inputs["first"].bool() | (level != torch.cat([level_before[None], level[:-1]])),
            seen=seen,
            kills=torch.stack([places.any(-1) for places in kills], -1),
            killed=_killed(top, kills[0] | kills[1], places_of(_IS, windows)),
            named=_word_before(top, *_first(places_of(_CORPSE, windows))),
            maps=maps,
            shown=shown,
            hero=hero,
            around=around,
            inside=inside,
            gone=seen[..., None] & ~self.covered[near],
            lies=seen[..., None] & self.objects[near],
        )

    def _followed(self, frames: _Frames, state: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, State]:
        """Returns what had fallen around the hero at each frame, what that is called at the hero, the state after."""
        told, killed = state["told"], state["killed"]
        fell, called, here = state["fell"].clone(), state["called"].clone(), []
        # The map that was seen last: none, the state's, or that of a step.
        shown = torch.cat([torch.zeros_like(frames.shown[:1]), state["shown"][None], frames.shown])
        lanes = torch.arange(len(fell), device=fell.device)
        last, around = torch.ones_like(lanes), []
        begins = _steps(frames.new)
        for step, (new, seen, turn) in enumerate(zip(frames.new, frames.seen, frames.turn, strict=True)):
            if begins[step]:
                last, told, fell = last.masked_fill(new, 0), told & ~new[:, None], fell.masked_fill(new[:, None], NEVER)
            told = told | frames.kills[step]
            killed = torch.where(frames.kills[step].any(1), frames.killed[step], killed)
            tells = told.any(1) & seen
            if (some := _lanes(tells)) is not None:
                now, before, lay = frames.maps[step, some], shown[last[some], lanes[some]], fell[some]
                falls = self._fallen(now, before) & tells[some, None]
                hidden = self._hidden(now, before) & tells[some, None] & ((lay == NEVER) | (lay < LAY))
                packed = _packed(turn[some, None], told[some, 1:], (lay == LAY) | (lay >= 0))
                fell[some] = torch.where(falls, packed, torch.where(hidden, _unseen(packed), lay))
                called[some] = torch.where(falls | hidden, killed[some, None], called[some])
                told = told & ~tells[:, None]
            last = torch.where(seen, step + 2, last)
            around.append(
                self._looked_around(fell.gather(1, frames.around[step]), frames.gone[step], frames.lies[step])
            )
            fell.scatter_(1, frames.around[step], around[-1])
            here.append(called.gather(1, frames.hero[step])[:, 0])
        after = {"shown": shown[last, lanes], "fell": fell, "told": told, "killed": killed, "called": called}
        return torch.stack(around), torch.stack(here), {**after, "level": frames.level[-1]}

    def _fallen(self, now: Tensor, before: Tensor) -> Tensor:
        """Returns where an object lies, and a monster or floor was seen before."""
        return self.objects[now.int()] & self.bare[before.int()]

    def _hidden(self, now: Tensor, before: Tensor) -> Tensor:
        """Returns where a corridor is, and a monster was seen before."""
        return (now == _CORRIDOR) & self.monsters[before.int()]

    def _looked_around(self, fell: Tensor, gone: Tensor, lies: Tensor) -> Tensor:
        """Returns what had fallen in the cells around the hero, once they are looked at.

        Args:
            fell: As it was known, i32 [B, SIDE²].
            gone: See :class:`_Frames`, bool [B, SIDE²].
            lies: The same.
        """
        fell = fell.masked_fill(gone & ((fell >= LAY) | self.beside), NEVER)
        return torch.where(lies & (fell < 0), torch.where(fell < LAY, _unseen(fell), LAY), fell)

    def _codes(self, fell: Tensor, turn: Tensor) -> Tensor:
        """Returns what is told of cells in which something fell, see :func:`_packed`, at some turn."""
        turns, kinds = fell // FALLS, fell % FALLS
        codes = 1 + FALLS * torch.bucketize(turn - turns, self.ages, right=True) + kinds
        return torch.where(fell < 0, 0, codes).to(torch.uint8)


def _packed(turn: Tensor, destroyed: Tensor, upon: Tensor) -> Tensor:
    """Returns a turn with the kind of what fell: whether destroyed by the messages, and upon what lay there."""
    return FALLS * turn + 2 * upon.int() + destroyed


def _unseen(packed: Tensor) -> Tensor:
    """Returns what stands for something that fell unseen, below −2, from what would stand for it; and the inverse."""
    return LAY - 1 - packed


def _table(characters: bytes) -> Tensor:
    """Returns which of 256 characters are among these, bool [256]."""
    table = torch.zeros(256, dtype=torch.bool)
    table[list(characters)] = True
    return table


def _first(found: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the first place that holds, i64 [...], 0 if none does, and whether one does, of bool [..., W]."""
    return found.int().argmax(-1), found.any(-1)


def _killed(lines: Tensor, kills: Tensor, is_: Tensor) -> Tensor:
    """Returns the last word of what lines say was killed: "You kill the gnome lord!", "The gnome lord is killed!".

    Args:
        lines: u8 [..., W].
        kills: Where "kill" or "destroy" begins, bool [..., W].
        is_: Where "is" begins, bool [..., W].

    Returns:
        See :func:`_word_before`, i64 [...].
    """
    place, some = _first(kills)
    passive = F.pad(is_, (len(_IS), 0))[..., : lines.shape[-1]] & kills
    at, is_passive = _first(passive)
    places = torch.arange(lines.shape[-1], device=lines.device)
    end, ended = _first(((lines == _EXCLAMATION) | (lines == _STOP)) & (places > place[..., None]))
    return _word_before(lines, torch.where(is_passive, at - len(_IS), end), some & (is_passive | ended))


def _word_before(lines: Tensor, ends: Tensor, there: Tensor) -> Tensor:
    """Returns the words that end in lines before some places.

    Args:
        lines: u8 [..., W].
        ends: The places, i64 [...].
        there: Whether there is such a word, bool [...].

    Returns:
        Their last eight letters as one number, i64 [...]; 0 where there is none.
    """
    padded = F.pad(lines, (_WORD, 0), value=_SPACE)
    letters = padded.gather(-1, ends[..., None] + torch.arange(_WORD, device=lines.device))
    spaces = (letters == _SPACE).flip(-1).cumsum(-1).flip(-1) > 0  # here or later
    words = letters.masked_fill(spaces, 0).contiguous().view(torch.int64)[..., 0]
    return words.masked_fill(~there, 0)


def _steps(mask: Tensor) -> list[bool]:
    """Returns at which steps a mask, bool [T, B], holds in some lane; all steps where the host would have to wait."""
    told: list[bool] = mask.any(1).tolist() if mask.device.type == "cpu" else [True] * len(mask)
    return told


def _lanes(mask: Tensor) -> Tensor | slice | None:
    """Returns the lanes for which a mask, bool [B], holds, None if for none; all where the host would have to wait."""
    if mask.device.type != "cpu":
        return slice(None)
    lanes = mask.nonzero()[:, 0]
    return lanes if len(lanes) else None


class CorpsesEncoder(nn.Module):
    """Encodes what is told of the cells around the hero, and of a named corpse: a layer over codes, 0 adds nothing.

    Args:
        units: Units of the layer.
    """

    def __init__(self, units: int) -> None:
        super().__init__()
        self.codes = nn.EmbeddingBag(1 + SIDE**2 * (CODES - 1) + len(COMPARED), units, mode="sum", padding_idx=0)
        self.bias = nn.Parameter(torch.zeros(units))
        self.register_buffer("places", torch.arange(SIDE**2 + 1, dtype=torch.int32) * (CODES - 1), persistent=False)

    def forward(self, codes: Tensor) -> Tensor:
        """From u8 [N, SIDE² + 1] to [N, units]."""
        return F.elu(self.codes((self.places + codes) * (codes > 0)) + self.bias)
