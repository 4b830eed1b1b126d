import av
import numpy as np
import pytest
from films import write_filmed_game
from PIL import Image

from strathack.analysis.film import Film
from strathack.analysis.options import ExportVideoConfig
from strathack.analysis.palette import BACKGROUND, TERMINAL, colour_of, rgb
from strathack.analysis.video import Painter, write_video
from strathack.dataset.errors import InputError


@pytest.fixture
def film(tmp_path):
    return Film(write_filmed_game(tmp_path / "data", 40)[0])


def test_a_picture_is_its_cells(film):
    painter = Painter(20)
    screen = film.screen(30)
    picture = painter.draw(screen, film.strategy_at(30))
    assert picture.shape == (*painter.shape, 3)
    row_height, margin = 20, 10
    column_width = (painter.shape[1] - 2 * margin) // 80
    for row in range(24):
        for column in range(80):
            if (row, column) == screen.cursor:
                continue
            top, left = margin + row * row_height, margin + column * column_width
            cell = picture[top : top + row_height, left : left + column_width].reshape(-1, 3).astype(int)
            if screen.lines[row][column] == " ":
                assert (cell == rgb(BACKGROUND)).all()
            elif screen.lines[row][column] == "H":
                # Anti-aliased text lies between the background and its colour.
                ends = np.sort([rgb(BACKGROUND), rgb(TERMINAL[screen.colours[row, column]])], axis=0)
                assert ((cell >= ends[0] - 1) & (cell <= ends[1] + 1)).all()
                assert (cell != rgb(BACKGROUND)).any()
    bar = picture[margin + 24 * row_height + row_height * 3 // 4, margin + 2]
    assert tuple(bar) == rgb(colour_of(film.strategy_at(30)))


def test_the_cursor_is_turned_around(film):
    screen = film.screen(3)
    other = screen.__class__(screen.chars, screen.colours, (24, 80))  # nowhere
    differ = (Painter(16).draw(screen) != Painter(16).draw(other)).any(-1)
    rows, columns = np.nonzero(differ)
    assert (rows.min() - 8) // 16 == (rows.max() - 8) // 16 == screen.cursor[0]
    assert len(set((columns - 8) // ((Painter(16).shape[1] - 16) // 80))) == 1


@pytest.mark.parametrize("name", ["game.mp4", "game.gif"])
def test_a_video_shows_every_step(film, tmp_path, name):
    out = tmp_path / name
    seen = []
    assert write_video(film, out, start=5, stop=13, speed=10, size=16, on_step=seen.append) == 8
    assert sum(seen) == 8
    painter = Painter(16)
    with av.open(str(out)) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == 10
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(frames) == 8
    for step, frame in enumerate(frames, start=5):
        drawn = painter.draw(film.screen(step), film.strategy_at(step), f"step {step} · {film.action_at(step)}")
        # H.264 halves the resolution of colours, a GIF has few of them: as grey pictures they are near.
        difference = np.abs(drawn.mean(-1) - frame.mean(-1))
        assert difference.mean() < 5
        others = [np.abs(drawn.mean(-1) - other.mean(-1)).mean() for other in frames]
        assert int(np.argmin(others)) == step - 5
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [name]


def test_a_gif_goes_on_and_on_at_its_speed(film, tmp_path):
    write_video(film, tmp_path / "game.gif", stop=3, speed=20)
    with Image.open(tmp_path / "game.gif") as image:
        assert image.n_frames == 3
        assert image.info["loop"] == 0
        assert image.info["duration"] == 50


def test_bad_requests_are_refused(film, tmp_path):
    with pytest.raises(InputError, match="cannot be written"):
        write_video(film, tmp_path / "no" / "game.mp4")
    with pytest.raises(InputError, match="start: 40 is beyond the end"):
        write_video(film, tmp_path / "game.mp4", start=40)
    with pytest.raises(InputError, match=r"game.avi ends in neither .mp4 nor .gif"):
        ExportVideoConfig(tmp_path, tmp_path / "game.avi")
    with pytest.raises(InputError, match="size: 4 is not between 8 and 64"):
        ExportVideoConfig(tmp_path, size=4)
    with pytest.raises(InputError, match="speed: 60 is not between 1 and 50"):
        ExportVideoConfig(tmp_path, speed=60)
