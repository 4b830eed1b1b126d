"""A game as a video: its screens drawn in a monospaced font, with the strategy as caption."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, cached_property
from pathlib import Path

import av
import numpy as np
from matplotlib.font_manager import FontProperties, findfont
from PIL import Image, ImageDraw, ImageFont

from strathack.analysis.casting import stretch_end
from strathack.analysis.film import Film, Screen, printable
from strathack.analysis.palette import BACKGROUND, COLOURS, OTHER_COLOUR, TERMINAL, colour_of, rgb
from strathack.dataset.errors import InputError
from strathack.dataset.schema import SCREEN_COLUMNS, SCREEN_ROWS

_FONT = "DejaVu Sans Mono"
"""A font that comes with matplotlib."""

_SHADES = 15
"""Shades of each of the terminal's colours in a GIF, which has 256 colours in all."""


class Painter:
    """Draws screens.

    Every character is drawn once in each colour; screens are put together from these drawings.

    Args:
        size: Height of a row in pixels.
        caption: Whether to leave room for a caption below the screen.
    """

    def __init__(self, size: int, caption: bool = True) -> None:
        self._row = size
        path = findfont(FontProperties(family=_FONT), fallback_to_default=False)
        # A row is about 1.2 times as high as the font's size.
        self._font = ImageFont.truetype(path, max(6, round(size / 1.2)))
        self._column = max(1, round(self._font.getlength("M")))
        self._margin = size // 2
        self._caption = caption

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of a picture, both even, as H.264 requires."""
        rows = SCREEN_ROWS + (1.5 if self._caption else 0)
        height = int(rows * self._row) + 2 * self._margin
        width = SCREEN_COLUMNS * self._column + 2 * self._margin
        return height + height % 2, width + width % 2

    @cached_property
    def _cells(self) -> np.ndarray:
        """Every character in every colour, u8 [256, 16, rows, columns, 3]."""
        masks = np.zeros((256, self._row, self._column), np.float32)
        for code, shown in enumerate(printable(np.arange(256, dtype=np.uint8)).tolist()):
            picture = Image.new("L", (self._column, self._row))
            text = chr(shown)
            ImageDraw.Draw(picture).text((0, self._row // 2), text, fill=255, font=self._font, anchor="lm")
            masks[code] = np.asarray(picture, np.float32) / 255
        back, front = np.array(rgb(BACKGROUND)), np.array([rgb(colour) for colour in TERMINAL])
        mixed = back + masks[:, None, :, :, None] * (front - back)[None, :, None, None, :]
        return mixed.round().astype(np.uint8)

    def draw(self, screen: Screen, strategy: str = "", rest: str = "") -> np.ndarray:
        """Draws a screen.

        Args:
            screen: The screen.
            strategy: The strategy, which begins the caption.
            rest: The rest of the caption.

        Returns:
            RGB, u8 [height, width, 3].
        """
        cells = self._cells[screen.chars, screen.colours]
        row, column = screen.cursor
        if row < SCREEN_ROWS and column < SCREEN_COLUMNS:
            cells[row, column] = 255 - cells[row, column]
        body = cells.transpose(0, 2, 1, 3, 4).reshape(SCREEN_ROWS * self._row, SCREEN_COLUMNS * self._column, 3)
        picture = np.empty((*self.shape, 3), np.uint8)
        picture[:] = rgb(BACKGROUND)
        margin = self._margin
        picture[margin : margin + len(body), margin : margin + body.shape[1]] = body
        if self._caption:
            self._write(picture, margin + len(body), strategy, rest)
        return picture

    def _write(self, picture: np.ndarray, top: int, strategy: str, rest: str) -> None:
        height = picture.shape[0] - top
        strip = Image.new("RGB", (picture.shape[1], height), BACKGROUND)
        draw = ImageDraw.Draw(strip)
        left, middle = self._margin, height // 2
        draw.rectangle(
            (left, middle - self._row * 0.4, left + self._row * 0.3, middle + self._row * 0.4), colour_of(strategy)
        )
        left += self._column
        draw.text((left, middle), strategy, colour_of(strategy), self._font, anchor="lm")
        left += (len(strategy) + 2) * self._column
        draw.text((left, middle), rest, TERMINAL[8], self._font, anchor="lm")
        picture[top:] = np.asarray(strip)


def write_video(
    film: Film,
    out: Path,
    *,
    start: int = 0,
    stop: int | None = None,
    speed: int = 10,
    size: int = 20,
    caption: bool = True,
    on_step: Callable[[int], None] = lambda done: None,
) -> int:
    """Writes a stretch of a game as a video, one picture per step.

    Args:
        film: The game.
        out: The video, .mp4 (H.264) or .gif.
        start: First step.
        stop: Step after the last; the game's end by default.
        speed: Pictures per second.
        size: Height of a row in pixels.
        caption: Whether to show the strategy below the screen.
        on_step: Called with the number of steps just written.

    Returns:
        Steps written.

    Raises:
        InputError: If the stretch lies outside the game, or the file cannot be written.
        FormatError: If the game is not as it was written.
    """
    stop = stretch_end(film, start, stop)
    painter = Painter(size, caption)
    unfinished = out.with_name(f".{out.name}.unfinished{out.suffix}")
    try:
        with av.open(str(unfinished), "w") as container:
            stream = _stream(container, out.suffix, painter.shape, speed)
            for step, screen in film.screens(start, stop):
                picture = painter.draw(screen, film.strategy_at(step), film.caption_at(step))
                container.mux(stream.encode(_frame(picture, out.suffix)))
                on_step(1)
            container.mux(stream.encode())
        unfinished.replace(out)
    except (OSError, av.FFmpegError) as error:
        raise InputError(f"out: {out} cannot be written ({getattr(error, 'strerror', None) or error})") from None
    finally:
        unfinished.unlink(missing_ok=True)
    return stop - start


def _stream(container: av.container.OutputContainer, suffix: str, shape: tuple[int, int], speed: int) -> av.VideoStream:
    gif = suffix == ".gif"
    # At this quality text is sharp and the files are still small.
    stream = container.add_stream("gif" if gif else "libx264", rate=speed, options={} if gif else {"crf": "20"})
    stream.height, stream.width = shape
    stream.pix_fmt = "pal8" if gif else "yuv420p"
    return stream


def _frame(picture: np.ndarray, suffix: str) -> av.VideoFrame:
    """Converts a picture, u8 [height, width, 3], to a frame for the encoder."""
    if suffix != ".gif":
        return av.VideoFrame.from_ndarray(picture, "rgb24")
    quantised = Image.fromarray(picture).quantize(palette=_palette_image(), dither=Image.Dither.NONE)
    opaque = np.full((256, 4), 255, np.uint8)  # alpha, red, green, blue
    opaque[: len(_palette()), 1:] = _palette()
    return av.VideoFrame.from_ndarray((np.asarray(quantised), opaque), format="pal8")


@cache
def _palette() -> np.ndarray:
    """Returns at most 256 colours, u8 [n, 3]: the terminal's, mixed with its background, and the strategies'."""
    back, front = np.array(rgb(BACKGROUND)), np.array([rgb(colour) for colour in TERMINAL])
    shades = np.linspace(0, 1, _SHADES)[:, None, None]
    mixed = (back + shades * (front - back)).round().astype(np.uint8).reshape(-1, 3)
    return np.concatenate([mixed, np.array([rgb(colour) for colour in (*COLOURS.values(), OTHER_COLOUR)], np.uint8)])


@cache
def _palette_image() -> Image.Image:
    image = Image.new("P", (1, 1))
    image.putpalette(_palette().tobytes())
    return image
