"""What the glyphs on the map are called, in two dialects, from NLE's own tables of monsters and objects.

``wrapper`` has the names that nle-language-wrapper (Goodger et al., 2023) gives, its slips included. Its names of
magic items are those of an unshuffled game, which give the item away. ``fair`` calls an item what a player sees: its
class and its colour.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from nle import nethack

_SQUARE = tuple(f"{row} {column}" for row in ("top", "middle", "bottom") for column in ("left", "center", "right"))
_AROUND = tuple(place for place in _SQUARE if place != "middle center")

FEATURES = (
    "dark area", "vertical wall", "horizontal wall", "northwest room corner", "northeast room corner",
    "southwest corner", "southeast corner", "cross wall", "t up wall", "t down wall", "t west wall", "t east wall",
    "doorway", "vertical open door", "horizontal open door", "vertical closed door", "horizontal closed door",
    "bars", "tree", "room floor", "dark room floor", "corridor floor", "lit corridor floor", "stairs up",
    "stairs down", "ladder up", "ladder down", "alter", "grave", "throne", "sink", "fountain", "pool", "ice", "lava",
    "vertical lowered drawbridge", "horizontal lowered drawbridge", "vertical raised drawbridge",
    "horizontal raised drawbridge", "air floor", "cloud floor", "water floor", "arrow trap", "dart trap",
    "falling rock trap", "squeaky board", "bear trap", "land mine", "rolling boulder trap", "sleeping gas trap",
    "rust trap", "fire trap", "pit", "spiked pit", "hole", "trap door", "teleportation trap", "level teleporter",
    "magic portal", "web", "statue trap", "magic trap", "anti magic trap", "polymorph trap", "vibrating square",
    "vertical beam", "horizontal beam", "left slant beam", "right slant beam", "dig beam", "flash beam", "boom left",
    "boom right", "shield 1", "shield 2", "shield 3", "shield 4", "poison cloud", "valid position",
    *(f"swallow {place}" for place in _AROUND), *(f"explosion {place}" for place in _SQUARE),
)  # fmt: skip
"""The map's features in NetHack's order (``defsyms`` of drawing.c), as the wrapper calls them."""

STOPS_SIGHT = frozenset(FEATURES[:12])
"""Features beyond which nothing is looked for."""

FLOORS = frozenset(("room floor", "dark room floor", "corridor floor", "lit corridor floor"))
"""Features that are never named."""

SEEN_AFAR = frozenset((
    "horizontal closed door", "vertical closed door", "bars", "tree", "stairs up", "stairs down", "ladder up",
    "ladder down", "alter", "altar", "grave", "throne", "sink", "fountain", "pool", "ice", "lava",
    "vertical raised drawbridge", "horizontal raised drawbridge",
))  # fmt: skip
"""Features that are named wherever on the map they are; the others only in the eight directions."""

SWALLOWED = tuple(name for name in FEATURES if name.startswith("swallow "))
EXPLOSIONS = tuple(name for name in FEATURES if name.startswith("explosion "))
BEAMS = ("horizontal zap beam", "vertical zap beam", "left slant zap beam", "right slant zap beam")
WORRIES = ("worry", "concern", "anxiety", "disquiet", "alarm", "dread")

COLORS = (
    "black", "red", "green", "brown", "blue", "magenta", "cyan", "gray",
    "black", "orange", "bright green", "yellow", "bright blue", "bright magenta", "bright cyan", "white",
)  # fmt: skip
"""Names of a terminal's colours; 8, no colour, is how NetHack draws black."""

UNSEEN = len(COLORS)
"""The look of a glyph whose colour is not seen, since a menu or a message lies over it."""

SYMBOLS = ' ])[="(%!?+/$*`0_.'
"""The character of each class of objects (``def_oc_syms`` of drawing.c)."""

SHUFFLED_ARMOR = {
    "helmet": ("helmet", "helm of telepathy"),
    "cloak": ("cloak of protection", "cloak of displacement"),
    "gloves": ("leather gloves", "gauntlets of dexterity"),
    "boots": ("speed boots", "levitation boots"),
}
"""Kind → the first and the last of the objects whose appearances a game shuffles (``shuffle_all`` of o_init.c)."""

UNSHUFFLED = frozenset(("water", "blank paper", "Book of the Dead"))
"""Names of potions, scrolls and spellbooks that look the same in every game."""

Name = Callable[[int, int], str]
"""From a glyph and its look (a colour, or ``UNSEEN``) to a name; empty for what is not named."""


@dataclass(frozen=True)
class GlyphNames:
    """The names of a dialect, each with a number; 0 is no name.

    Attributes:
        names: The names by number.
        plurals: Their plurals.
        afar: By glyph and look, the number of a name that is told wherever on the map it is, i2 [glyphs, looks].
        near: By glyph, the number of a name that is told only in the eight directions, i2 [glyphs].
        stops: By number, whether nothing is looked for beyond, bool [names].
        symbols: By glyph, the character whose colour is the glyph's, u1 [glyphs]; 0 where colours do not matter.
    """

    names: tuple[str, ...]
    plurals: tuple[str, ...]
    afar: np.ndarray
    near: np.ndarray
    stops: np.ndarray
    symbols: np.ndarray

    @property
    def looks(self) -> int:
        """How many looks a glyph may have: 1 if colours do not matter."""
        return self.afar.shape[1]


@cache
def glyph_names(dialect: str) -> GlyphNames:
    """Returns the names of a dialect, ``wrapper`` or ``fair``."""
    if dialect == "wrapper":
        return _numbered(lambda glyph, _: _name(glyph, _wrapper_object, FEATURES), 1, wrapper_plural, {})
    features = ["altar" if name == "alter" else name for name in FEATURES]
    symbols = {glyph: SYMBOLS[_class(_object(glyph))] for glyph in _objects() if _is_shuffled(_object(glyph))}
    return _numbered(
        lambda glyph, look: _name(glyph, lambda item: _fair_object(item, look), features), UNSEEN + 1, plural, symbols
    )


def _numbered(name: Name, looks: int, plural_of: Callable[[str], str], symbols: dict[int, str]) -> GlyphNames:
    numbers = {"": 0}
    afar = np.zeros((nethack.MAX_GLYPH, looks), np.int16)
    near = np.zeros(nethack.MAX_GLYPH, np.int16)
    features = range(nethack.GLYPH_CMAP_OFF, nethack.GLYPH_EXPLODE_OFF)
    for glyph in range(nethack.MAX_GLYPH):
        for look in range(looks) if glyph in symbols else (slice(None),):
            called = name(glyph, UNSEEN if isinstance(look, slice) else look)
            number = numbers.setdefault(called, len(numbers))
            if glyph not in features or called in SEEN_AFAR:
                afar[glyph, look] = number
            elif called not in FLOORS:
                near[glyph] = number
    names = tuple(numbers)
    seen_by = np.zeros(nethack.MAX_GLYPH, np.uint8)
    seen_by[list(symbols)] = [ord(symbol) for symbol in symbols.values()]
    stops = np.array([called in STOPS_SIGHT for called in names])
    return GlyphNames(names, tuple(plural_of(called) if called else "" for called in names), afar, near, stops, seen_by)


def _name(glyph: int, of_object: Callable[[int], str], features: Sequence[str]) -> str:
    """Returns what a glyph is called; the ranges of glyphs are those of NetHack's display.h."""
    if nethack.glyph_is_statue(glyph):
        return f"{_monster(glyph)} statue"
    if nethack.glyph_is_warning(glyph):
        return f"unknown creature causing you {WORRIES[nethack.glyph_to_warning(glyph)]}"
    if glyph >= nethack.GLYPH_SWALLOW_OFF:
        return SWALLOWED[(glyph - nethack.GLYPH_SWALLOW_OFF) % len(SWALLOWED)]
    if glyph >= nethack.GLYPH_ZAP_OFF:
        return BEAMS[(glyph - nethack.GLYPH_ZAP_OFF) % len(BEAMS)]
    if glyph >= nethack.GLYPH_EXPLODE_OFF:
        return EXPLOSIONS[(glyph - nethack.GLYPH_EXPLODE_OFF) % len(EXPLOSIONS)]
    if glyph >= nethack.GLYPH_CMAP_OFF:
        return features[nethack.glyph_to_cmap(glyph)]
    if glyph >= nethack.GLYPH_OBJ_OFF:
        return of_object(_object(glyph))
    if nethack.glyph_is_body(glyph):
        return f"{nethack.permonst(glyph - nethack.GLYPH_BODY_OFF).mname} corpse"
    if nethack.glyph_is_invisible(glyph):
        return "invisible creature"
    kinds = (
        (nethack.GLYPH_RIDDEN_OFF, "ridden "), (nethack.GLYPH_DETECT_OFF, "detected "),
        (nethack.GLYPH_PET_OFF, "tame "), (nethack.GLYPH_MON_OFF, ""),
    )  # fmt: skip
    return next(word for first, word in kinds if glyph >= first) + _monster(glyph)


def _monster(glyph: int) -> str:
    return str(nethack.permonst(nethack.glyph_to_mon(glyph)).mname)


def _objects() -> range:
    return range(nethack.GLYPH_OBJ_OFF, nethack.GLYPH_CMAP_OFF)


def _object(glyph: int) -> int:
    return glyph - nethack.GLYPH_OBJ_OFF


def _class(item: int) -> int:
    return ord(nethack.objclass(item).oc_class)


def _words(item: int) -> tuple[str, str]:
    """Returns an object's name and its description in an unshuffled game, each empty if there is none."""
    words = nethack.objdescr.from_idx(item)
    return words.oc_name or "", words.oc_descr or ""


def _wrapper_object(item: int) -> str:
    name, description = _words(item)
    kind = _class(item)
    if kind in (nethack.ARMOR_CLASS, nethack.TOOL_CLASS):
        return description or name
    if kind == nethack.AMULET_CLASS and "Amulet" in description:
        return description
    if kind == nethack.FOOD_CLASS:
        return name + description
    if kind == nethack.SCROLL_CLASS:
        return f"scroll labeled {description}"
    if kind == nethack.GEM_CLASS:
        return name if description in name else f"{description} {name}"
    if kind == nethack.VENOM_CLASS:
        return f"splash of {name}"
    classes = {
        nethack.RING_CLASS: "ring", nethack.AMULET_CLASS: "amulet", nethack.POTION_CLASS: "potion",
        nethack.SPBOOK_CLASS: "spellbook", nethack.WAND_CLASS: "wand",
    }  # fmt: skip
    return f"{description} {classes[kind]}" if kind in classes else name


_COLORED = {
    nethack.RING_CLASS: "ring", nethack.POTION_CLASS: "potion", nethack.SPBOOK_CLASS: "spellbook",
    nethack.WAND_CLASS: "wand", nethack.GEM_CLASS: "gem",
}  # fmt: skip


@cache
def _shuffled_armor() -> dict[int, str]:
    """Returns object → kind, for the armour whose appearances a game shuffles."""
    numbers = {_words(_object(glyph))[0]: _object(glyph) for glyph in _objects()}
    return {
        item: kind
        for kind, (first, last) in SHUFFLED_ARMOR.items()
        for item in range(numbers[first], numbers[last] + 1)
    }


@cache
def _is_shuffled(item: int) -> bool:
    """Returns whether an object's appearance differs from game to game, or hides what it is."""
    name, description = _words(item)
    kind = _class(item)
    if kind == nethack.GEM_CLASS:
        return bool(description)
    if kind == nethack.ARMOR_CLASS:
        return item in _shuffled_armor()
    magic = (*_COLORED, nethack.SCROLL_CLASS, nethack.AMULET_CLASS)
    return kind in magic and name not in UNSHUFFLED and "Amulet" not in description


@cache
def _fair_object(item: int, look: int) -> str:
    name, description = _words(item)
    kind = _class(item)
    color = "" if look == UNSEEN else f"{COLORS[look]} "
    if not _is_shuffled(item):
        # Weapons and armour of a people look like that people's work until they are known.
        if kind == nethack.WEAPON_CLASS:
            return description or name
        return f"{description} scroll" if kind == nethack.SCROLL_CLASS else _wrapper_object(item)
    if kind == nethack.SCROLL_CLASS:
        return "scroll"
    if kind == nethack.AMULET_CLASS:
        return "amulet"
    if kind == nethack.ARMOR_CLASS:
        return f"{color}{_shuffled_armor()[item]}"
    if kind == nethack.GEM_CLASS and description == "gray":
        return "gray stone"
    return f"{color}{_COLORED[kind]}"


_UNCHANGED = ("boots", "shoes", "scales", "lenses", "bars")
_IRREGULAR = {
    "can of grease": "cans of grease", "Master of Thieves": "Masters of Thieves", "ice": "area of ice",
    "lava": "area of lava",
}  # fmt: skip
_HEADS = ("boom", "shield", "swallow", "scroll", "worthless piece", "unknown creature")
_VOWELS = "aeiou"


def wrapper_plural(noun: str) -> str:
    """Returns the plural that the wrapper makes of a name; "ch" gets an s alone, as it does there."""
    if noun.endswith(_UNCHANGED):
        return noun
    if noun in _IRREGULAR:
        return _IRREGULAR[noun]
    for head in _HEADS:
        if noun.startswith(f"{head} "):
            return f"{head}s{noun[len(head) :]}"
    if noun.endswith("y") and noun[-2] not in _VOWELS:
        return f"{noun[:-1]}ies"
    if noun.endswith(("z", "x", "sh", "s")):
        return f"{noun}es"
    if noun.endswith("f"):
        return f"{noun.removesuffix('f').removesuffix('f')}ves"
    return f"{noun}s"


_PLURALS = {
    "homunculus": "homunculi", "incubus": "incubi", "succubus": "succubi", "fungus": "fungi", "Uruk-hai": "Uruk-hai",
    "samurai": "samurai", "ninja": "ninja", "ronin": "ronin", "mumak": "mumakil", "erinys": "erinyes",
    "knife": "knives", "dwarf": "dwarves", "wolf": "wolves", "leaf": "leaves", "loaf": "loaves", "gloves": "gloves",
    "djinni": "djinn", "manes": "manes", "stairs": "stairs", "jellyfish": "jellyfish", "vortex": "vortices",
}  # fmt: skip
"""Words of NetHack whose plurals follow no rule."""

_TAILS = (" of ", " causing ", " above", " up", " down")
"""What follows a name's head."""


def plural(noun: str) -> str:
    """Returns the plural of a name: of its head, which stands before "of" or at the end."""
    if noun in ("ice", "lava"):
        return f"areas of {noun}"
    for word in _TAILS:
        head, found, rest = noun.partition(word)
        if found and (word.endswith(" ") or not rest):
            return f"{plural(head)}{word}{rest}"
    for head in ("boom", "shield", "swallow", "explosion"):
        if noun.startswith(f"{head} ") and noun in FEATURES:
            return f"{head}s{noun[len(head) :]}"
    head, space, last = noun.rpartition(" ")
    return f"{head}{space}{_plural_of_word(last)}"


def _plural_of_word(word: str) -> str:
    if word in _PLURALS:
        return _PLURALS[word]
    if word.endswith(_UNCHANGED):
        return word
    if word.endswith(("staff", "elf")):
        return f"{word.removesuffix('f').removesuffix('f')}ves"
    if word.endswith("man") and word not in ("human", "shaman"):
        return f"{word[:-2]}en"
    if word.endswith("y") and word[-2:-1] not in _VOWELS:
        return f"{word[:-1]}ies"
    if word.endswith(("z", "x", "sh", "ch", "s")):
        return f"{word}es"
    return f"{word}s"
