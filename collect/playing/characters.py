"""NetHack's characters: which ones may be requested, and which one a seed gives."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from strathack.dataset.codec import TextValue, split_list
from strathack.dataset.errors import InputError, near_match

_RACE_ALIGNMENTS: Mapping[str, frozenset[str]] = {
    "hum": frozenset({"law", "neu", "cha"}),
    "dwa": frozenset({"law"}),
    "gno": frozenset({"neu"}),
    "elf": frozenset({"cha"}),
    "orc": frozenset({"cha"}),
}


@dataclass(frozen=True)
class _Role:
    """What NetHack 3.6 allows a role (``role.c``)."""

    name: str
    races: tuple[str, ...]
    alignments: frozenset[str]
    female_name: str = ""
    genders: tuple[str, ...] = ("mal", "fem")

    def alignments_of(self, race: str) -> frozenset[str]:
        return self.alignments & _RACE_ALIGNMENTS[race]


_ROLES: Mapping[str, _Role] = {
    "arc": _Role("Archeologist", ("hum", "dwa", "gno"), frozenset({"law", "neu"})),
    "bar": _Role("Barbarian", ("hum", "orc"), frozenset({"neu", "cha"})),
    "cav": _Role("Caveman", ("hum", "dwa", "gno"), frozenset({"law", "neu"}), "Cavewoman"),
    "hea": _Role("Healer", ("hum", "gno"), frozenset({"neu"})),
    "kni": _Role("Knight", ("hum",), frozenset({"law"})),
    "mon": _Role("Monk", ("hum",), frozenset({"law", "neu", "cha"})),
    "pri": _Role("Priest", ("hum", "elf"), frozenset({"law", "neu", "cha"}), "Priestess"),
    "rog": _Role("Rogue", ("hum", "orc"), frozenset({"cha"})),
    "ran": _Role("Ranger", ("hum", "elf", "gno", "orc"), frozenset({"neu", "cha"})),
    "sam": _Role("Samurai", ("hum",), frozenset({"law"})),
    "tou": _Role("Tourist", ("hum",), frozenset({"neu"})),
    "val": _Role("Valkyrie", ("hum", "dwa"), frozenset({"law", "neu"}), genders=("fem",)),
    "wiz": _Role("Wizard", ("hum", "elf", "gno", "orc"), frozenset({"neu", "cha"})),
}

ROLES: tuple[str, ...] = tuple(_ROLES)
"""The thirteen roles by NetHack's three-letter codes."""

ROLE_CODES: Mapping[str, str] = {
    name.lower(): code.capitalize()
    for code, role in _ROLES.items()
    for name in (role.name, role.female_name or role.name)
}
"""A role's name in lower case, that of a woman too → its code as the xlogfile has it."""


@dataclass(frozen=True)
class Character:
    """A character, in the three-letter codes of NetHack's xlogfile (``Val``, ``Hum``, …)."""

    role: str
    race: str
    gender: str
    alignment: str


class Roles(TextValue, tuple[str, ...]):
    """Roles by their three-letter codes, in NetHack's order, without duplicates; no roles stand for all of them."""

    @classmethod
    def parse(cls, text: str) -> Roles:
        """Reads codes separated by commas: ``val,sam``.

        Raises:
            InputError: If a code is unknown.
        """
        wanted = [role.lower() for role in split_list(text)]
        for role in wanted:
            if role not in _ROLES:
                raise InputError(f"unknown role {role!r}{near_match(role, ROLES)}")
        return cls(role for role in ROLES if role in wanted)

    def __str__(self) -> str:
        """The inverse of :meth:`parse`."""
        return ",".join(self)

    def include(self, role: str) -> bool:
        """Returns whether a role is included, given its code in upper or lower case."""
        return not self or role.lower() in self


class CharacterWish(TextValue, str):
    """A requested character, as NLE writes it: ``@`` (drawn from the seed) or ``role[-race][-alignment][-gender]``."""

    @classmethod
    def parse(cls, text: str) -> CharacterWish:
        """Reads a request; raises if NetHack cannot fulfil it, since NetHack itself would draw a character instead.

        Raises:
            InputError: If a part is unknown or the parts do not go together.
        """
        text = text.strip().lower()
        if text != "@":
            _check_possible(text)
        return cls(text)


ANY_CHARACTER = CharacterWish("@")


def combinations_of(wish: str) -> list[tuple[str, str]]:
    """Returns the pairs of race and alignment that are possible for a request with a role."""
    role_code, *parts = wish.split("-")
    role = _ROLES[role_code]
    return [
        (race, alignment)
        for race in role.races
        for alignment in sorted(role.alignments_of(race))
        if all(part in (race, alignment, *role.genders) for part in parts)
    ]


def _check_possible(text: str) -> None:
    role_code, *parts = text.split("-")
    if role_code not in _ROLES:
        raise InputError(
            f"unknown role {role_code!r} in {text!r}; expected '@' or role-race-alignment-gender, "
            f"with a role of {', '.join(ROLES)}"
        )
    role = _ROLES[role_code]
    choices = {"race": tuple(_RACE_ALIGNMENTS), "alignment": ("law", "neu", "cha"), "gender": ("mal", "fem")}
    chosen: dict[str, str] = {}
    for part in parts:
        kind = next((kind for kind, codes in choices.items() if part in codes), None)
        if kind is None or kind in chosen:
            problem = "unknown part" if kind is None else f"a second {kind}"
            raise InputError(f"{problem} {part!r} in {text!r}; expected role-race-alignment-gender")
        chosen[kind] = part
    if not combinations_of(text):
        raise InputError(f"NetHack has no {text!r} (a {role.name} of that race, alignment and gender)")


_ATTRIBUTES = re.compile(
    r"You are an? [^,]+, a level \d+ (?:(?P<gender>male|female) )?(?P<race>\w+) (?P<role>\w+)\."
    r".*?You are (?P<alignment>lawful|neutral|chaotic)"
)
_RACE_ADJECTIVES = {"human": "Hum", "dwarven": "Dwa", "gnomish": "Gno", "elven": "Elf", "orcish": "Orc"}


def parse_attributes(screen: str) -> Character:
    """Reads the character from the first page of NetHack's attributes (the ^X command).

    Args:
        screen: The page's text; line breaks do not matter.

    Raises:
        ValueError: If the text is another page.
    """
    match = _ATTRIBUTES.search(" ".join(screen.split()))
    if match is None:
        raise ValueError(f"no character in this page of attributes: {screen!r}")
    for code, role in _ROLES.items():
        if match["role"] in (role.name, role.female_name):
            female = match["gender"] == "female" or match["role"] == role.female_name or role.genders == ("fem",)
            return Character(
                role=code.capitalize(),
                race=_RACE_ADJECTIVES[match["race"]],
                gender="Fem" if female else "Mal",
                alignment=match["alignment"][:3].capitalize(),
            )
    raise ValueError(f"no role of NetHack: {match['role']!r}")
