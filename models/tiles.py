"""The paper's pictures of character cells: 6×6 RGB pixels, looked up in a table instead of rendered."""

from __future__ import annotations

from functools import cache

import numpy as np

from strathack.dataset.errors import InputError

TILE = 6
"""Pixels on a side of a tile."""

COLORS = 16
BLANK = ord(" ") * COLORS
"""The tile of a space: black, whatever its colour."""

_FONT_HEIGHT = 11
_PALETTE = (
    "000000 800000 008000 808000 000080 800080 008080 808080 C0C0C0 FF0000 00FF00 FFFF00 0000FF FF00FF 00FFFF FFFFFF"
)


@cache
def tile_table() -> np.ndarray:
    """Returns pictures of every character (Latin-1) in each of the 16 colours on black, as the paper's policies see it.

    The font is Pillow's built-in bitmap font, its cells of 6×11 pixels shrunk to 6×6 by area averaging.

    Returns:
        RGB, u8 [256, 16, 6, 6, 3]: character, colour, row, column. Read-only; copy it to change it.

    Raises:
        InputError: If Pillow is not installed.
    """
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError:
        raise InputError("pixels: the tiles are drawn with Pillow; pip install strathack[train]") from None
    text = "".join(character if character.isprintable() else " " for character in map(chr, range(256)))
    shrink = area_weights(_FONT_HEIGHT, TILE)
    table = np.zeros((256, COLORS, TILE, TILE, 3), dtype=np.uint8)
    for color, code in enumerate(_PALETTE.split()):
        image = Image.new("RGB", (TILE * 256, _FONT_HEIGHT))
        font = ImageFont.load_default_imagefont()
        ImageDraw.Draw(image).text((0, 0), text, font=font, fill=f"#{code}")
        cells = np.asarray(image, dtype=np.float64).reshape(_FONT_HEIGHT, 256, TILE, 3)
        table[:, color] = np.rint(np.einsum("ij,jnwk->niwk", shrink, cells))
    table.flags.writeable = False
    return table


def area_weights(long: int, short: int) -> np.ndarray:
    """Returns weights that average ``long`` equal intervals into ``short`` of equal total length, f64 [short, long]."""
    scale = long / short
    low, high = np.arange(short)[:, None] * scale, (np.arange(short)[:, None] + 1) * scale
    places = np.arange(long)
    return np.clip(np.minimum(high, places + 1) - np.maximum(low, places), 0, None) / scale
