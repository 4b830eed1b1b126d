import asyncio
import time

import numpy as np
import pytest
from films import write_filmed_game, write_replies_to

from strathack.analysis import watching
from strathack.analysis.film import Film
from strathack.analysis.options import WatchConfig
from strathack.analysis.runs import columns_of
from strathack.analysis.watching import ScreenView, Timeline, WatchApp, check_terminal, column_of, first_step_of, show
from strathack.dataset.errors import FormatError, InputError, RunError
from strathack.dataset.folder import replies_path
from strathack.dataset.frames import StoredFrames

STEPS = 1300


@pytest.fixture
def film(tmp_path):
    return Film(write_filmed_game(tmp_path / "data", STEPS)[0])


def watched(film, script, size=(120, 30), **options):
    """Runs the application without a terminal, with a script that is given its pilot."""
    app = WatchApp(film, **options)

    async def go():
        async with app.run_test(size=size) as pilot:
            await settle(pilot)
            await script(app, pilot)

    asyncio.run(go())
    return app


async def settle(pilot):
    await pilot.app.workers.wait_for_complete()
    await pilot.pause()


async def press(pilot, *keys):
    await pilot.press(*keys)
    await settle(pilot)


def shown(app):
    """What stands on the screen's part of the terminal, row by row, with the colour of each character."""
    view = app.query_one(ScreenView)
    rows = []
    for y in range(24):
        cells = []
        for segment in view.render_line(y):
            cells += [(character, segment.style) for character in segment.text]
        rows.append(cells)
    return rows


@pytest.mark.parametrize("size", [(120, 30), (80, 29)])
def test_the_screen_is_the_games_with_what_is_pursued_beside_or_below_it(film, size):
    async def script(app, pilot):
        for step in (0, 700, STEPS - 1):
            app.go_to(step)
            await settle(pilot)
            screen, rows = film.screen(step), shown(app)
            assert ["".join(character for character, _ in row) for row in rows] == screen.lines
            for y, row in enumerate(rows):
                for x, (character, style) in enumerate(row):
                    if (y, x) == screen.cursor:
                        assert style.bgcolor.name == watching.TERMINAL[screen.colours[y, x]]
                    elif character != " ":
                        assert style.color.name == watching.TERMINAL[screen.colours[y, x]]
            wide, side, line = size[0] > 100, app.query_one("#side"), app.query_one("#line")
            assert (side.display, line.display) == (wide, not wide)
            said = str((side if wide else line).render())
            assert film.strategy_at(step) in said
            assert film.action_at(step) in said
            assert f"{step:,} of {STEPS - 1:,}" in str(app.query_one(Timeline).render())

    watched(film, script, size)


def test_what_a_language_model_replied_stands_beside_its_step(tmp_path):
    game = write_filmed_game(tmp_path / "data", 40)[0]
    write_replies_to(game, {0: "I look around.", 3: "Because " + "of this, " * 100 + "<|ACTION|>search<|END|>"})

    async def script(app, pilot):
        def beside():
            return str(app.query_one("#side").render())

        assert "I look around." in beside()
        await press(pilot, "right")
        assert "I look around." not in beside()
        await press(pilot, "right", "right")
        assert beside().partition("reply\n")[2].startswith("… ")
        assert "<|ACTION|>search<|END|>" in beside()
        assert "Because" not in beside()

    watched(Film(game), script, size=(120, 40))


def test_in_a_standard_terminal_what_has_no_room_is_folded_and_the_cursors_half_is_shown(film):
    async def script(app, pilot):
        for step in (0, 700, STEPS - 1):
            app.go_to(step)
            await settle(pilot)
            row, stage = film.screen(step).cursor[0], app.query_one("#stage")
            assert stage.scroll_y <= row < stage.scroll_y + stage.size.height
            assert stage.size.height == 22
            assert app.query_one("#line").display
            assert app.query_one(Timeline).size.height == 1
            assert not app.query_one("#title").display

    watched(film, script, (80, 24))


def test_keys_go_by_steps_and_to_both_ends(film):
    async def script(app, pilot):
        seen = []
        for key in ("right", "right", "left", "shift+right", "shift+left", "left", "left", "end", "right", "home"):
            await press(pilot, key)
            seen.append(app.step)
        assert seen == [1, 2, 1, 101, 1, 0, 0, STEPS - 1, STEPS - 1, 0]

    watched(film, script)


def test_keys_go_to_the_changes_of_strategy(film):
    async def script(app, pilot):
        for change in film.changes[1:4]:
            await press(pilot, "n")
            assert app.step == change
        await press(pilot, "right", "p")
        assert app.step == film.changes[3]
        await press(pilot, "p")
        assert app.step == film.changes[2]
        await press(pilot, "end", "n")
        assert app.notice == "no further change"

    watched(film, script)


def test_a_message_is_searched_and_searched_again(film):
    async def script(app, pilot):
        await press(pilot, "slash", *"see step 1", "enter")
        assert app.step == 100
        await press(pilot, "enter")
        assert app.step == 150
        await press(pilot, "slash")
        await press(pilot, *"xyzzy", "enter")
        assert (app.step, app.notice) == (150, "no further message with 'xyzzy'")

    watched(film, script)


def test_a_step_is_gone_to_by_number_and_by_share(film):
    async def script(app, pilot):
        for told, step in (("1,234", 1234), ("50%", 650), ("99999", STEPS - 1)):
            await press(pilot, "g", *told, "enter")
            assert app.step == step
        await press(pilot, "g", *"nine", "enter")
        assert app.notice == "'nine' is no step"
        await press(pilot, "g", "5", "escape", "left")
        assert app.step == STEPS - 2

    watched(film, script)


def test_it_plays_at_its_speed_and_stops_at_the_end(film):
    now = [100.0]

    async def script(app, pilot):
        app.go_to(600)
        await settle(pilot)
        await press(pilot, "space")
        assert app.playing
        now[0] += 2.05
        app._tick()
        assert app.step == 600 + 2 * 20
        await press(pilot, "plus")
        assert app.speed == 50
        now[0] += 1.01
        app._tick()
        assert app.step == 640 + 50
        await press(pilot, "space")
        now[0] += 5
        app._tick()
        assert (app.step, app.playing) == (690, False)
        await press(pilot, "minus", "minus", "space")
        now[0] += 1000
        app._tick()
        await settle(pilot)
        app._tick()
        assert (app.step, app.playing, app.speed) == (STEPS - 1, False, 10)
        await press(pilot, "space")
        assert (app.step, app.playing) == (0, True)

    watched(film, script, speed=20, now=lambda: now[0])


def test_a_click_on_the_timeline_seeks(film):
    async def script(app, pilot):
        await pilot.click("#timeline", offset=(60, 0))
        await settle(pilot)
        assert app.step == first_step_of(60, STEPS, 120)
        timeline = app.query_one(Timeline)
        assert "▲" in str(timeline.render()).splitlines()[1][60]

    watched(film, script)


class Slow:
    """Frames that come slowly, block by block."""

    def open(self, game, names, start):
        self.reader = StoredFrames().open(game, names, start)
        return self

    def copy(self, start, stop, out):
        time.sleep(0.25)
        self.reader.copy(start, stop, out)

    def close(self):
        self.reader.close()


def test_a_later_key_counts_and_nothing_waits_for_an_earlier_one(film):
    async def script(app, pilot):
        app.action_go(-1)  # two blocks are still to be read
        began = time.monotonic()
        await pilot.press("home")
        assert time.monotonic() - began < 0.4
        assert app.step == 0
        await settle(pilot)
        assert app.step == 0
        await press(pilot, "end")
        assert app.step == STEPS - 1

    watched(Film(film.game, Slow()), script)


def test_it_plays_on_from_a_click_on_what_was_not_read_yet(film):
    now = [0.0]

    async def script(app, pilot):
        await press(pilot, "space")
        await pilot.click("#timeline", offset=(110, 0))
        await settle(pilot)
        clicked = app.step
        assert clicked == first_step_of(110, STEPS, 120)
        now[0] += 1.01
        app._tick()
        assert app.step == clicked + 10

    watched(Film(film.game, Slow()), script, now=lambda: now[0])


def test_it_is_left_while_something_is_read(film):
    slow = Film(film.game, Slow())
    app = WatchApp(slow)

    async def go():
        async with app.run_test(size=(120, 30)) as pilot:
            await settle(pilot)
            app.action_find_again()
            app._find("nowhere")
            await pilot.press("q")

    asyncio.run(go())
    assert app.return_value is None
    assert not slow.has_read(STEPS - 1)


def test_the_timeline_shows_what_is_most_frequent_in_each_column(film):
    async def script(app, pilot):
        text = app.query_one(Timeline).render()
        colours = [str(span.style) for span in text.spans[:120]]
        expected = columns_of(film.strategy, 120)
        assert colours == [watching.colour_of(film.strategy_names[int(code)]) for code in expected]

    watched(film, script)


@pytest.mark.parametrize(("steps", "columns"), [(1300, 120), (120, 120), (7, 7), (1000, 33)])
def test_columns_and_steps_agree(steps, columns):
    stretches = np.array_split(np.arange(steps), columns)
    for column, stretch in enumerate(stretches):
        assert {column_of(int(step), steps, columns) for step in stretch} == {column}
        assert first_step_of(column, steps, columns) == stretch[0]


@pytest.mark.parametrize("failing", [InputError("game_0: is damaged"), RunError("a replaying process is gone")])
def test_what_cannot_be_read_ends_it_with_the_reason(film, failing):
    class Broken:
        def open(self, game, names, start):
            raise failing

    app = WatchApp(Film(film.game, Broken()))

    async def go():
        async with app.run_test(size=(120, 30)) as pilot:
            await pilot.pause(0.2)

    asyncio.run(go())
    assert app.return_value is failing


def test_replies_that_cannot_be_read_are_told_of_before_the_screen_is_taken(film):
    replies = replies_path(film.game.path.parent, film.game.name)
    replies.parent.mkdir()
    replies.write_bytes(b"no table")
    with pytest.raises(FormatError, match="no table of replies"):
        show(film, WatchConfig(film.game.path))


def test_terminals_that_are_too_small_or_none_are_refused():
    check_terminal((80, 24), interactive=True)
    with pytest.raises(
        InputError, match="the terminal has 60 columns and 20 rows; expected at least 80 columns and 24"
    ):
        check_terminal((60, 20), interactive=True)
    with pytest.raises(InputError, match="needs a terminal; export-cast and export-video write a file instead"):
        check_terminal((120, 40), interactive=False)


def test_bad_options_are_refused(tmp_path):
    with pytest.raises(InputError, match="step: -1 is below 0"):
        WatchConfig(tmp_path, step=-1)
    with pytest.raises(InputError, match="speed: 0 is below 1"):
        WatchConfig(tmp_path, speed=0)
