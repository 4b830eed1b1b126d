"""The actions of NetHackChallenge: index, name and byte sent. Copied from NLE, so that reading data needs no NLE.

A test checks that this table agrees with ``nle.nethack.ACTIONS``.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

_DIRECTIONS = ["north", "east", "south", "west", "northeast", "southeast", "southwest", "northwest"]

_COMMANDS = """
extcmd 35, extlist 191, adjust 225, annotate 193, apply 97, attributes 24, autopickup 64, call 67, cast 90,
chat 227, close 99, conduct 195, dip 228, drop 100, droptype 68, eat 101, engrave 69, enhance 229, esc 27,
fight 70, fire 102, force 230, glance 59, history 86, inventory 105, inventtype 73, invoke 233, jump 234,
kick 4, known 92, knownclass 96, look 58, loot 236, monster 237, move 109, movefar 77, offer 239, open 111,
options 79, overview 15, pay 112, pickup 44, pray 240, puton 80, quaff 113, quit 241, quiver 81, read 114,
redraw 18, remove 82, ride 210, rub 242, rush 103, rush2 71, save 83, search 115, seeall 42, seeamulet 34,
seearmor 91, seegold 36, seerings 61, seespells 43, seetools 40, seetrap 94, seeweapon 41, shell 33, sit 243,
swap 120, takeoff 84, takeoffall 65, teleport 20, throw 116, tip 212, travel 95, turn 244, twoweapon 88,
untrap 245, version 246, versionshort 118, wear 87, whatdoes 38, whatis 47, wield 119, wipe 247, zap 122
"""


def _actions() -> dict[str, int]:
    actions = dict(zip(_DIRECTIONS, b"kljhunby", strict=True))
    actions |= dict(zip((f"far_{name}" for name in _DIRECTIONS), b"KLJHUNBY", strict=True))
    actions |= {"up": ord("<"), "down": ord(">"), "wait": ord("."), "more": ord("\r")}
    actions |= {name: int(key) for name, key in (entry.split() for entry in _COMMANDS.split(","))}
    actions |= {"plus": ord("+"), "minus": ord("-"), "space": ord(" "), "apostrophe": ord("'"), "quote": ord('"')}
    return actions | {f"digit_{digit}": ord(str(digit)) for digit in range(10)} | {"dollar": ord("$")}


ACTIONS: Mapping[str, int] = _actions()
"""Action name → the byte it sends, in the order of the indices that ``actions`` holds. Three bytes occur twice."""

ACTION_NAMES: tuple[str, ...] = tuple(ACTIONS)
"""Name of each action by its index."""

KEY_CODES = np.array(list(ACTIONS.values()), dtype=np.uint8)
"""The byte that each action sends to the game, u8 [121]."""

ACTION_INDEX: Mapping[int, int] = {int(key): index for index, key in reversed(list(enumerate(KEY_CODES)))}
"""The byte sent → index of the action; if two actions send the same byte, the first."""

NO_ACTION = 255
"""In ``actions``: no key was recorded. In a stream's ``previous_action``: the game had no action before this step."""
