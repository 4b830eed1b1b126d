import json
import re
from dataclasses import replace

import numpy as np
import pytest
from browsing import browser
from films import write_filmed_game
from made_up_games import write_games

from strathack.analysis.film import Film
from strathack.analysis.report.films import packed
from strathack.analysis.report.page import PackedFilm, ReportData, page_of
from strathack.analysis.steps import names_of, read_steps, steps_of
from strathack.dataset import Dataset

STEPS = 900


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A report of 250 games, of which one can be watched; and that game."""
    folder = tmp_path_factory.mktemp("page")
    write_games(folder / "data", [60, 90, 30])
    dataset = Dataset(folder / "data")
    parts = list(read_steps(dataset))
    filmed, _ = write_filmed_game(folder / "filmed", STEPS)
    steps = steps_of(filmed, names_of(dataset))
    games = [steps]
    for number in range(1, 250):
        info = {
            "game": f"game_{number}",
            "core": number,
            "score": 7 * number % 1000,
            "role": ("Val", "Wiz", "Sam")[number % 3],
            "end": "abort" if number == 5 else "death",
            "cause": 'killed by </script><b>a "newt"' if number == 9 else "made up",
        }
        games.append(replace(parts[number % 3], info={**steps.info, **info}))
    film = Film(filmed)
    data = ReportData(
        title="games & <more>",
        subtitle="made up",
        card=[("Data", "/some/where"), ("Command", "strathack collect <data>\nstrathack dataset merge")],
        games=games,
        films=[PackedFilm("game_0", "game_0 · Val · a label that is longer than a telephone is wide", packed(film))],
        left_out=["shard-00003.h5: <damaged>"],
    )
    path = folder / "report.html"
    path.write_text(page_of(data), encoding="utf-8")
    return path, film, data


@pytest.fixture(scope="module")
def chromium():
    with browser() as started:
        yield started


@pytest.fixture
def opened(made, chromium, request):
    """The page in a browser without a network; any word on its console fails the test."""
    options = getattr(request, "param", {})
    context = chromium.new_context(**{"viewport": {"width": 1300, "height": 900}, "offline": True, **options})
    page = context.new_page()
    said = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(made[0].as_uri())
    page.wait_for_function("document.getElementById('step').textContent")
    yield page
    assert said == []
    context.close()


def step_of(page):
    return int(re.match(r"step ([\d,]+) of", page.text_content("#step"))[1].replace(",", ""))


def rows_of(page):
    return page.locator("#table tbody tr").count()


def column(page, name):
    """What the table shows in a column, row by row."""
    titles = [title.strip() for title in page.locator("#table thead th").all_text_contents()]
    texts = "(rows, place) => rows.map((row) => row.cells[place].textContent.replace('▶ ', ''))"
    return page.locator("#table tbody tr").evaluate_all(texts, titles.index(name))


def check_screen(page, film, step):
    lines = page.evaluate("[...document.querySelectorAll('#screen div')].map((row) => row.textContent)")
    screen = film.screen(step)
    assert [line.ljust(80) for line in lines] == screen.lines
    assert page.text_content("#strategy") == film.strategy_at(step)
    assert page.text_content("#action") == film.action_at(step)
    colours = page.evaluate(
        "[...document.querySelectorAll('#screen div')].map((row) => [...row.childNodes].flatMap((node) => "
        "Array(node.textContent.length).fill(node.nodeType === 1 ? getComputedStyle(node).color : '')))"
    )
    palette = page.evaluate("JSON.parse(document.getElementById('data').textContent).terminal")
    for row in range(24):
        for place in range(80):
            if screen.lines[row][place] not in " \xa0":
                red, green, blue = bytes.fromhex(palette[screen.colours[row, place]][1:])
                assert colours[row][place] == f"rgb({red}, {green}, {blue})"


def test_the_page_needs_nothing_else(made):
    text = made[0].read_text(encoding="utf-8")
    assert "games &amp; &lt;more&gt;" in text
    assert "strathack collect &lt;data&gt;" in text
    assert "shard-00003.h5: &lt;damaged&gt;" in text
    assert not re.findall(r"""(?:src|href)=["'](?!#|data:)""", text.replace("xlink:href", ""))
    assert not re.findall(r"url\((?!#)", text)
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])
    assert data["games"][9][11] == 'killed by </script><b>a "newt"'


def test_the_player_plays_and_pauses(opened, made):
    check_screen(opened, made[1], 0)
    opened.select_option("#speed", "100")
    opened.click("#play")
    opened.wait_for_function("Number(document.getElementById('timeline').ariaValueNow) > 20")
    opened.click("#play")
    stopped = step_of(opened)
    check_screen(opened, made[1], stopped)
    opened.wait_for_timeout(100)
    assert step_of(opened) == stopped
    opened.select_option("#speed", "500")
    opened.click("#play")
    opened.wait_for_function("document.getElementById('play').textContent === 'Play'")
    assert step_of(opened) == STEPS - 1


def test_a_click_on_the_timeline_seeks(opened, made):
    box = opened.locator("#timeline").bounding_box()
    for share in (0.5, 0.9, 0.1):
        opened.click("#timeline", position={"x": box["width"] * share, "y": 5})
        step = step_of(opened)
        assert step == pytest.approx(share * (STEPS - 1), abs=2)
        check_screen(opened, made[1], step)


def test_buttons_and_keys_step_and_find_strategies_and_messages(opened, made):
    film = made[1]
    opened.click("#on")
    opened.click("#next")
    assert step_of(opened) == film.changes[1]
    opened.click("#on")
    opened.click("#previous")
    assert step_of(opened) == film.changes[1]
    opened.focus("#timeline")
    opened.keyboard.press("n")
    assert step_of(opened) == film.changes[2]
    opened.keyboard.press("ArrowLeft")
    assert step_of(opened) == film.changes[2] - 1
    opened.keyboard.press("End")
    assert step_of(opened) == STEPS - 1
    opened.keyboard.press("Home")
    opened.fill("#message", "SEE STEP 3")
    opened.press("#message", "Enter")
    assert step_of(opened) == film.find("see step 3", 0) == 300
    opened.press("#message", "Enter")
    assert step_of(opened) == 350


def test_the_cursor_lies_over_its_cell(opened, made):
    for step in (3, 40):
        opened.focus("#timeline")
        opened.keyboard.press("Home")
        for _ in range(step):
            opened.keyboard.press("ArrowRight")
        row, place = made[1].screen(step).cursor
        at = opened.evaluate(
            "(() => { const c = document.getElementById('cursor').getBoundingClientRect(), "
            "s = document.getElementById('screen').getBoundingClientRect(); "
            "return [(c.top - s.top) / c.height, (c.left - s.left) / (s.width / 80)]; })()"
        )
        assert at == pytest.approx([row, place], abs=0.05)


def test_filters_filter_and_columns_sort(opened):
    assert rows_of(opened) == 200
    assert opened.text_content("#count") == "250 of 250"
    opened.click("#more")
    assert rows_of(opened) == 250
    opened.select_option("#role", "Wiz")
    assert set(column(opened, "Role")) == {"Wiz"}
    assert opened.text_content("#count").startswith("83 of ")
    opened.select_option("#end", "abort")
    assert opened.text_content("#count") == "0 of 250"
    opened.select_option("#role", "")
    assert column(opened, "Game") == ["game_5"]
    opened.select_option("#end", "")
    opened.fill("#filter", "newt")
    assert column(opened, "Game") == ["game_9"]
    opened.fill("#filter", "")
    opened.fill("#least", "900")
    scores = [int(score.replace(",", "")) for score in column(opened, "Score")]
    assert len(scores) > 10
    assert min(scores) >= 900
    opened.click("#table th button:text('Score')")
    sorted_down = [int(score.replace(",", "")) for score in column(opened, "Score")]
    assert sorted_down == sorted(scores, reverse=True)
    opened.click("#table th button:text('Score')")
    assert column(opened, "Score")[0] == str(min(scores))
    assert opened.get_attribute("#table th[aria-sort]", "aria-sort") == "ascending"


def test_a_row_opens_its_game(opened):
    opened.click("#table button:text('game_0')")
    opened.wait_for_function("window.scrollY < 600")
    assert opened.input_value("#film") == "0"


@pytest.mark.parametrize(
    "opened",
    [
        {"color_scheme": scheme, "viewport": {"width": width, "height": 800}}
        for scheme, width in (("light", 390), ("dark", 1500))
    ],
    indirect=True,
    ids=["light-narrow", "dark-wide"],
)
def test_it_fits_the_screen_and_can_be_read(opened):
    wide, room = opened.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide <= room
    stage, screen = (opened.locator(name).bounding_box() for name in ("#stage", "#screen"))
    assert screen["width"] <= stage["width"]
    # WCAG 2.1, 1.4.3: text stands out at least 4.5 to 1.
    for place in ("h1", ".muted", "#table td", "a", ".card dd"):
        assert contrast(opened, place) >= 4.5


def contrast(page, place):
    ink = page.locator(place).first.evaluate("(there) => getComputedStyle(there).color")
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")

    def luminance(colour):
        parts = np.array([int(part) for part in re.findall(r"\d+", colour)[:3]]) / 255
        linear = np.where(parts <= 0.03928, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    lighter, darker = sorted((luminance(ink), luminance(paper)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)
