"""Figures as SVG in a page, whose text and lines take the page's text colour, in light and dark mode."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure

_INK = "#010203"
"""A colour that no picture uses; it is replaced by the page's text colour."""

_SETTINGS = {
    **dict.fromkeys(
        (
            "text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color",
            "boxplot.boxprops.color", "boxplot.whiskerprops.color", "boxplot.capprops.color",
        ),
        _INK,
    ),
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "text.parse_math": False,  # names are plain text, not formulas
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "strathack",  # the same picture always gets the same ids
}  # fmt: skip


def svg(draw: Callable[[], Figure], title: str) -> Markup:
    """Draws a figure as SVG.

    Args:
        draw: Makes the figure.
        title: What the figure shows, for readers who cannot see it.
    """
    with matplotlib.rc_context(_SETTINGS):
        buffer = io.StringIO()
        draw().savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(_INK, "currentColor")
    # As wide as the page allows, but no wider than it was drawn.
    width = re.search(r'width="([\d.]+)pt"', text)
    assert width is not None
    label = Markup.escape(title)
    text = re.sub(r'width="[\d.]+pt"', f'role="img" aria-label="{label}" style="max-width:{width[1]}pt"', text, count=1)
    text = re.sub(r'height="[\d.]+pt" ', "", text, count=1)
    return Markup(re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL))
