"""Tells whether the installed bot is the one that the fast bot was written against."""

from __future__ import annotations

import hashlib
from pathlib import Path

from strathack.collect.demonstrators.package import bot_version, find_bot

VERSION = "0.37.3"
"""The version of the package nethackers."""

SOURCES = {
    "autoascend/__init__.py": "e3b0c44298fc1c14",
    "autoascend/agent.py": "918080062c689a05",
    "autoascend/character.py": "09a58ff9f5956643",
    "autoascend/combat/__init__.py": "bdd8b98eb7f7978f",
    "autoascend/combat/fight_heur.py": "26552662e46839b6",
    "autoascend/combat/monster_utils.py": "77f652b503c2f482",
    "autoascend/combat/movement_priority.py": "65d22b775c7f1d04",
    "autoascend/combat/utils.py": "cc5fb4eac584ec63",
    "autoascend/exceptions.py": "378004897f091a1d",
    "autoascend/exploration_logic.py": "fb41c6ef6a7bb28f",
    "autoascend/global_logic.py": "62c6218f02f4c247",
    "autoascend/glyph/__init__.py": "2d0301c994837e84",
    "autoascend/glyph/monflag.py": "ae8425c6ae111915",
    "autoascend/glyph/monster.py": "2ce9ecc5e130b9cc",
    "autoascend/glyph/screen_symbol_consts.py": "e856e6453224e1e4",
    "autoascend/glyph/screen_symbols.py": "080b94daaaaa1be6",
    "autoascend/item/__init__.py": "aca6858e6137f13a",
    "autoascend/item/inventory.py": "b9de1c6bd09b0083",
    "autoascend/item/inventory_items.py": "9cc916c794a3b247",
    "autoascend/item/item.py": "8db21efa1fab7296",
    "autoascend/item/item_manager.py": "81f49f8f1c3a9416",
    "autoascend/item/item_priority_base.py": "80371b00e56ab527",
    "autoascend/item/utils.py": "71757be63bdd1d6b",
    "autoascend/level.py": "93390d9099fe440f",
    "autoascend/monster_tracker/__init__.py": "6368233c233f92cb",
    "autoascend/monster_tracker/kernels.py": "83a3cc323412da9e",
    "autoascend/monster_tracker/monster_tracker.py": "67c24c4164ec8614",
    "autoascend/objects/__init__.py": "1bb67456478f562c",
    "autoascend/objects/data.py": "a2d1480b219793da",
    "autoascend/objects/utils.py": "36d6b6ca43a79321",
    "autoascend/soko_solver/__init__.py": "3a69ee1b7a25c404",
    "autoascend/soko_solver/maps.py": "b5b023ee194e5846",
    "autoascend/stats_logger.py": "ec47b945b640542a",
    "autoascend/strategy.py": "26dfe239be5d03ec",
    "autoascend/utils.py": "c280f751724b38fd",
}
"""The bot's files, and the first 16 digits of each one's SHA-256: those with a function that is replaced, and all the
others, on which the replacements lean."""


def difference() -> str | None:
    """Returns how the installed bot differs from the one that the fast bot was written against, None if it does not."""
    version = bot_version()
    if version != VERSION:
        return f"nethackers is {version}, the fast bot was written against {VERSION}"
    folder = find_bot()
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.glob("autoascend/**/*.py"))}
    changed = [name for name in SOURCES.keys() | files.keys() if _digest(files.get(name)) != SOURCES.get(name)]
    if changed:
        others = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        return f"{min(changed)}{others} of nethackers {version} is not as the fast bot knows it"
    return None


def _digest(path: Path | None) -> str | None:
    return None if path is None else hashlib.sha256(path.read_bytes()).hexdigest()[:16]
