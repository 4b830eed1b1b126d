"""Shows a game in the terminal: its screen, the strategy beside the screen, and a timeline below."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import ClassVar, TypeVar

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.events import Click, Resize
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.strip import Strip
from textual.widgets import Footer, Input, Static

from strathack.analysis.film import Film, Screen
from strathack.analysis.options import WatchConfig
from strathack.analysis.palette import BACKGROUND, TERMINAL, colour_of, in_order
from strathack.analysis.runs import columns_of
from strathack.dataset.errors import InputError, RunError
from strathack.dataset.schema import SCREEN_COLUMNS, SCREEN_ROWS

SMALLEST = (SCREEN_COLUMNS, SCREEN_ROWS)
"""Columns and rows of the smallest terminal that a game is shown in: the standard one."""

UNFOLDED_ROWS = SCREEN_ROWS + 5
"""The fewest rows of a terminal that shows title, keys, the whole timeline and all rows of the screen at once."""

SIDE = 32
"""Columns of the panel beside the screen, in a terminal that is wide enough."""

SHOWN_OF_REPLY = 240
"""Characters of a language model's reply that are shown beside the screen."""

SPEEDS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
"""The speeds to choose from, in steps per second."""

_Result = TypeVar("_Result")

_TICK = 1 / 30
_STYLES = [Style(color=colour, bgcolor=BACKGROUND) for colour in TERMINAL]
_CURSORS = [Style(color=BACKGROUND, bgcolor=colour) for colour in TERMINAL]


def check_terminal(size: tuple[int, int], *, interactive: bool) -> None:
    """Checks that a game can be watched in this terminal.

    Args:
        size: Columns and rows of the terminal.
        interactive: Whether there is a terminal.

    Raises:
        InputError: If it cannot.
    """
    if not interactive:
        raise InputError("watch: needs a terminal; export-cast and export-video write a file instead")
    if size[0] < SMALLEST[0] or size[1] < SMALLEST[1]:
        found, least = (f"{columns} columns and {rows} rows" for columns, rows in (size, SMALLEST))
        raise InputError(f"watch: the terminal has {found}; expected at least {least}")


def is_interactive() -> bool:
    """Returns whether this process has a terminal for its input and its output."""
    return sys.stdin.isatty() and sys.stdout.isatty()


class ScreenView(Static):
    """The game's screen."""

    screen_shown: reactive[Screen | None] = reactive(None)

    def render_line(self, y: int) -> Strip:
        """Renders one row, with a segment for each stretch of one colour."""
        shown = self.screen_shown
        if shown is None or y >= SCREEN_ROWS:
            return Strip.blank(self.size.width, _STYLES[0])
        text, colours = shown.lines[y], shown.colours[y]
        segments, start = [], 0
        row, column = shown.cursor
        for end in range(1, SCREEN_COLUMNS + 1):
            at_cursor = y == row and (column in (start, end))
            if end == SCREEN_COLUMNS or colours[end] != colours[start] or at_cursor:
                styles = _CURSORS if (y, start) == (row, column) else _STYLES
                segments.append(Segment(text[start:end], styles[colours[start]]))
                start = end
        return Strip(segments, SCREEN_COLUMNS)

    def get_content_width(self, container: Size, viewport: Size) -> int:
        """Returns 80."""
        return SCREEN_COLUMNS

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """Returns 24."""
        return SCREEN_ROWS


class Timeline(Static):
    """The strategies of the whole game, with a mark at the step shown."""

    step: reactive[int] = reactive(0)

    class Sought(Message):
        """A step of the timeline was clicked."""

        def __init__(self, step: int) -> None:
            self.step = step
            super().__init__()

    def __init__(self, film: Film) -> None:
        super().__init__(id="timeline")
        self._film = film

    def render(self) -> Text:
        """Renders a row of colours, and below it a mark at the step shown."""
        width = max(self.size.width, 1)
        text = Text(no_wrap=True, end="")
        columns = columns_of(self._film.strategy, width)
        for code in columns:
            text.append("█", colour_of(self._film.strategy_names[int(code)]))
        place = column_of(self.step, len(self._film), len(columns))
        label = f" {self.step:,} of {len(self._film) - 1:,} "
        before = place - len(label) if place + 1 + len(label) > width else place + 1
        text.append("\n" + " " * min(place, before))
        text.append("▲" + label if before > place else label + "▲", "bold")
        return text

    def on_click(self, event: Click) -> None:
        """Asks the app to go to the first step of the clicked column."""
        columns = min(self.size.width, len(self._film))
        if event.x < columns:
            self.post_message(self.Sought(first_step_of(event.x, len(self._film), columns)))


def column_of(step: int, steps: int, columns: int) -> int:
    """Returns which of ``columns`` columns shows a step; see :func:`strathack.analysis.runs.columns_of`."""
    # numpy's array_split gives the first stretches one step more.
    size, larger = divmod(steps, columns)
    return step // (size + 1) if step < larger * (size + 1) else larger + (step - larger * (size + 1)) // size


def first_step_of(column: int, steps: int, columns: int) -> int:
    """Returns the first step that a column shows; the inverse of :func:`column_of`."""
    size, larger = divmod(steps, columns)
    return column * size + min(column, larger)


class WatchApp(App[Exception]):
    """Shows a game.

    Args:
        film: The game.
        step: The step to begin at.
        speed: Steps per second.
        now: Returns the time in seconds, counted from any fixed moment.

    The app returns the error if the game could not be read.
    """

    CSS = f"""
    Screen {{ background: {BACKGROUND}; layout: vertical; }}
    #title {{ height: 1; width: 100%; padding: 0 1; background: $panel; color: $foreground; text-style: bold; }}
    #stage {{ height: {SCREEN_ROWS}; }}
    ScreenView {{ width: {SCREEN_COLUMNS}; height: {SCREEN_ROWS}; }}
    #side {{ width: 1fr; padding: 1 2; }}
    #line {{ height: 1; display: none; padding: 0 1; }}
    #timeline {{ height: 2; width: 100%; }}
    #ask {{ dock: bottom; display: none; height: 1; border: none; padding: 0 1; }}
    .narrow #side {{ display: none; }}
    .narrow #line {{ display: block; }}
    .short #title, .short Footer {{ display: none; }}
    .short #timeline {{ height: 1; }}
    .short #stage {{ height: 1fr; overflow-y: auto; scrollbar-size: 0 0; }}
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "play", "play/pause"),
        Binding("left", "move(-1)", "step", key_display="←/→"),
        Binding("right", "move(1)", "step", show=False),
        Binding("shift+left", "move(-100)", "100 back", show=False),
        Binding("shift+right", "move(100)", "100 on", show=False),
        Binding("home", "go(0)", "start", show=False),
        Binding("end", "go(-1)", "end", show=False),
        Binding("minus", "faster(-1)", "speed", key_display="-/+"),
        Binding("plus,equals_sign", "faster(1)", "faster", show=False),
        Binding("n", "change(1)", "next strategy", key_display="n/p"),
        Binding("p", "change(-1)", "previous strategy", show=False),
        Binding("slash", "ask_text", "search", key_display="/"),
        Binding("enter", "find_again", "again", key_display="enter"),
        Binding("g", "ask_step", "go to"),
        Binding("q", "quit", "quit"),
        Binding("escape", "cancel", show=False),
    ]
    AUTO_FOCUS = None
    ENABLE_COMMAND_PALETTE = False

    step: reactive[int] = reactive(0)
    playing: reactive[bool] = reactive(False)
    speed: reactive[int] = reactive(10)

    def __init__(self, film: Film, step: int = 0, speed: int = 10, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.film = film
        self._now = now
        self.notice = ""
        self._first = step
        self._request = 0
        self._busy = False
        self._text = ""
        self._answer: Callable[[str], None] = self._find
        self._played_since: tuple[float, int] = (0.0, 0)
        self.set_reactive(WatchApp.speed, speed)
        self._summary = _shares_of(film)

    def compose(self) -> ComposeResult:
        """Yields the title, the screen with its panel, the timeline and the keys."""
        yield Static(Text(self.film.title, no_wrap=True, overflow="ellipsis"), id="title")
        with Vertical():
            with Horizontal(id="stage"):
                yield ScreenView()
                yield Static(id="side")
            yield Static(id="line")
            yield Timeline(self.film)
        yield Input(id="ask")
        yield Footer(compact=True)

    def on_mount(self) -> None:
        """Starts the timer and shows the first step asked for."""
        self.set_interval(_TICK, self._tick)
        self.go_to(self._first)

    def on_resize(self, event: Resize) -> None:
        """Shows the strategy beside the screen if there is room, else below; hides parts that do not fit."""
        self.set_class(event.size.width < SCREEN_COLUMNS + SIDE, "narrow")
        self.set_class(event.size.height < UNFOLDED_ROWS, "short")
        self.call_after_refresh(self._scroll_to_cursor)

    # Actions of the keys

    def action_play(self) -> None:
        """Plays, or pauses; at the end plays from the start."""
        if not self.playing and self.step == len(self.film) - 1:
            self.go_to(0)
        self.playing = not self.playing
        self._restart_clock()

    def action_move(self, steps: int) -> None:
        """Moves by some steps, and pauses."""
        self.playing = False
        self.go_to(self.step + steps)

    def action_go(self, step: int) -> None:
        """Goes to a step, and pauses; −1 is the last step."""
        self.playing = False
        self.go_to(step if step >= 0 else len(self.film) - 1)

    def action_faster(self, change: int) -> None:
        """Changes to the next higher or lower speed of SPEEDS."""
        known = sorted({*SPEEDS, self.speed})
        self.speed = known[min(max(known.index(self.speed) + change, 0), len(known) - 1)]
        self._restart_clock()

    def action_change(self, direction: int) -> None:
        """Goes to the next or the previous step at which a strategy begins, and pauses."""
        self.playing = False
        step = self.film.change_after(self.step) if direction > 0 else self.film.change_before(self.step)
        if step is None:
            self._tell("no further change" if direction > 0 else "no earlier change")
        else:
            self.go_to(step)

    def action_ask_text(self) -> None:
        """Asks for a text to search for."""
        self._ask("a message to search", self._find, self._text)

    def action_ask_step(self) -> None:
        """Asks for a step."""
        self._ask(f"a step up to {len(self.film) - 1}, or a share: 50%", self._go_to_told)

    def action_find_again(self) -> None:
        """Searches for the last text again, from the current step on."""
        if self._text:
            self._find(self._text)

    async def action_quit(self) -> None:
        """Quits, even while a game is being read."""
        self._drop_request()
        self.film.close()
        self.exit()

    def action_cancel(self) -> None:
        """Cancels the question or the search."""
        self._drop_request()
        self._tell("")
        ask = self.query_one("#ask", Input)
        ask.display = False
        self.set_focus(None)

    def on_timeline_sought(self, message: Timeline.Sought) -> None:
        """Goes to the step that was clicked."""
        self.go_to(message.step)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Passes on the answer to a question."""
        self.action_cancel()
        if event.value:
            self._answer(event.value)

    def _ask(self, what: str, answer: Callable[[str], None], value: str = "") -> None:
        self.playing = False
        self._answer = answer
        ask = self.query_one("#ask", Input)
        ask.placeholder, ask.value = what, value
        ask.display = True
        ask.focus()

    def _go_to_told(self, told: str) -> None:
        number = told.strip().replace(",", "")
        share = number.endswith("%")
        try:
            value = float(number.rstrip("%"))
            self.go_to(round(value / 100 * (len(self.film) - 1)) if share else int(value))
        except (ValueError, OverflowError):
            self._tell(f"{told!r} is no step")

    # Slow work is done in a thread, so that the app still responds to keys

    def go_to(self, step: int, *, playing_on: bool = False) -> None:
        """Shows a step, or the nearest step that the game has.

        Args:
            step: The step.
            playing_on: Whether the step is reached by playing, so that the time is counted on without a restart.
        """
        step = min(max(step, 0), len(self.film) - 1)
        self.notice = ""
        if self.film.has_read(step):
            self._drop_request()
            self._show(step, self.film.screen(step))
            if not playing_on:
                self._restart_clock()
        else:
            self._in_thread("reading …", partial(self.film.screen, step), partial(self._show_anew, step))

    def _find(self, text: str) -> None:
        self._text = text
        self.playing = False

        def found(step: int | None) -> None:
            if step is None:
                self._tell(f"no further message with {text!r}")
            else:
                self.go_to(step)

        self._in_thread("searching …", partial(self.film.find, text, self.step), found)

    def _in_thread(self, notice: str, work: Callable[[], _Result], then: Callable[[_Result], None]) -> None:
        """Does slow work in a thread; its result is used only if nothing else was asked for meanwhile."""
        self._drop_request()
        request = self._request

        async def run() -> None:
            try:
                result = await asyncio.to_thread(work)
            except (InputError, RunError) as error:
                if request == self._request:
                    self.exit(error)
                return
            if request == self._request:
                self._busy, self.notice = False, ""
                then(result)

        self._busy = True
        self._tell(notice)
        self.run_worker(run())

    def _drop_request(self) -> None:
        self._request += 1
        self._busy = False

    def _show_anew(self, step: int, screen: Screen) -> None:
        self._show(step, screen)
        self._restart_clock()

    def _scroll_to_cursor(self) -> None:
        """If not all rows fit, scrolls to the half that the cursor is in."""
        shown = self.query_one(ScreenView).screen_shown
        stage = self.query_one("#stage")
        if shown is not None and stage.max_scroll_y:
            stage.scroll_to(y=0 if shown.cursor[0] < SCREEN_ROWS // 2 else stage.max_scroll_y, animate=False)

    def _show(self, step: int, screen: Screen) -> None:
        self.query_one(ScreenView).screen_shown = screen
        self._scroll_to_cursor()
        self.query_one(Timeline).step = step
        self.step = step
        self._tell(self.notice)

    def _tell(self, notice: str) -> None:
        self.notice = notice
        self.query_one("#side", Static).update(self._side())
        self.query_one("#line", Static).update(self._line())

    # Playing

    def _restart_clock(self) -> None:
        self._played_since = (self._now(), self.step)
        self._tell(self.notice)

    def _tick(self) -> None:
        if not self.playing or self._busy:
            return
        since, first = self._played_since
        step = min(first + int((self._now() - since) * self.speed), len(self.film) - 1)
        if step > self.step:
            self.go_to(step, playing_on=True)
        if self.step == len(self.film) - 1:
            self.playing = False
            self._tell(self.notice)

    # The text beside the screen, or below it

    def _side(self) -> Text:
        film, step = self.film, self.step
        name = film.strategy_at(step)
        since = int(film.changes[film.changes.searchsorted(step, side="right") - 1])
        text = Text()
        text.append("strategy\n", "dim")
        text.append("█ ", colour_of(name)).append(f"{name}\n", "bold")
        text.append(f"  since step {since:,}\n", "dim")
        text.append("substrategy\n", "dim").append(f"  {film.substrategy_at(step) or '–'}\n")
        text.append("action\n", "dim").append(f"  {film.action_at(step) or '–'}\n")
        text.append("step\n", "dim").append(f"  {step:,} of {len(film) - 1:,}\n")
        text.append(f"  {'playing' if self.playing else 'paused'}, {self.speed:,} a second\n")
        text.append(f"{self.notice}\n\n", "yellow")
        if film.replies:
            return text.append("reply\n", "dim").append(shortened(film.replies.get(step, ""), SHOWN_OF_REPLY))
        for name, share in self._summary[: SCREEN_ROWS - 14]:
            text.append("█ ", colour_of(name)).append(f"{name:<16}{share:6.1%}\n")
        return text

    def _line(self) -> Text:
        film, step = self.film, self.step
        name = film.strategy_at(step)
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append("█ ", colour_of(name)).append(name, "bold")
        for part in (film.substrategy_at(step), film.action_at(step)):
            text.append(f" · {part}" if part else "")
        text.append(f" · {'playing' if self.playing else 'paused'}, {self.speed:,} a second", "dim")
        text.append(f" · {self.notice}" if self.notice else "", "yellow")
        return text


def shortened(reply: str, length: int) -> str:
    """Returns the end of a reply, where models say what they do; all of it if it is short."""
    reply = reply.strip()
    return reply if len(reply) <= length else f"… {reply[2 - length :]}"


def _shares_of(film: Film) -> list[tuple[str, float]]:
    shares = {
        film.strategy_names[code]: float((film.strategy == code).mean()) for code in sorted(set(film.strategy.tolist()))
    }
    return [(name, shares[name]) for name in in_order(shares)]


def show(film: Film, config: WatchConfig) -> None:
    """Shows a game until the user leaves.

    Raises:
        InputError: If the game cannot be read.
        RunError: If the game cannot be replayed.
    """
    _ = film.replies  # read now: while the screen is drawn, it is too late to tell that they cannot be
    failed = WatchApp(film, config.step, config.speed).run()
    if failed is not None:
        raise failed
