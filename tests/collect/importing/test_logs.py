"""Which line of an xlogfile is about a recording."""

import bz2

import pytest
from recordings import START, game_that_ends

from strathack.collect.importing.logs import LogBook, LogLines
from strathack.collect.importing.ttyrec import read_ttyrec
from strathack.collect.playing.xlogfile import LogEntry


def line(points, turns, *, start=START, end=START, **more):
    fields = {"points": points, "turns": turns, "starttime": start, "endtime": end, "death": "killed by a newt", **more}
    return "\t".join(f"{name}={value}" for name, value in fields.items())


def recording(**ended):
    return read_ttyrec("nle.1.0.ttyrec3.bz2", bz2.compress(game_that_ends(**ended)))


@pytest.mark.parametrize(
    ("other", "agrees"),
    [
        ({}, True),
        ({"turns": 41}, True),
        ({"turns": 39}, False),
        ({"turns": 60}, False),
        ({"points": 90}, True),  # a tenth of the gold goes at a death
        ({"points": 88}, False),
        ({"points": 200}, False),
        ({"points": 5000, "death": "ascended"}, True),
        ({"start": START + 2}, True),
        ({"start": START + 60}, False),
        ({"end": START + 60}, False),
        ({"turns": "many"}, False),
    ],
)
def test_a_line_that_names_no_recording_has_to_agree_with_it(other, agrees):
    told = line(**{"points": 100, "turns": 40, **other})
    assert LogLines("x", nameless=(told,)).about(recording(turns=40, points=100)) == (told if agrees else "")


def test_of_two_that_agree_neither_is_taken_and_a_reset_game_has_none():
    one, other = line(100, 40), line(101, 41)
    game = recording(turns=40, points=100)
    assert LogLines("x", nameless=(one, other)).about(game) == ""
    assert LogLines("x", nameless=(one, one)).about(game) == one
    assert LogLines("x", nameless=(one,)).about(recording(turns=40, points=100, over=False)) == ""
    assert LogLines("x", nameless=("death=quit",)).about(game) == "", "nothing in it tells of this game"
    cut = bz2.compress(game_that_ends(turns=40, points=100))[:-4]
    assert LogLines("x", nameless=(one,)).about(read_ttyrec("nle.1.0.ttyrec3.bz2", cut)) == ""


def test_a_line_that_names_a_recording_is_about_it_and_of_two_the_later(tmp_path):
    path = tmp_path / "nle.1.0.ttyrec3.bz2"
    path.touch()
    log = tmp_path / "nle.1.xlogfile"
    lines = [f"points={n}\tttyrecname={path.name}" for n in (1, 2)] + ["points=3", "points=4\tttyrecname=sub/gone.bz2"]
    log.write_text("\n".join(lines) + "\n\n")
    book = LogBook([(log, "a/nle.1.xlogfile"), (tmp_path / "not-there.xlogfile", "b")])
    assert book.lines_for(path) == LogLines("a/nle.1.xlogfile", named=lines[1])
    assert book.lines_for(tmp_path / "nle.1.7.ttyrec3.bz2") == LogLines("a/nle.1.xlogfile", nameless=("points=3",))
    assert book.lines_for(tmp_path / "nle.2.0.ttyrec3.bz2") == LogLines()
    assert book.missing == ["a/nle.1.xlogfile: the ttyrec sub/gone.bz2 is not there"]
    assert book.unreadable == ["b: cannot be read (No such file or directory)"]


def test_both_separators_are_read():
    assert LogEntry("points=5\tdeath=killed by Ann: a ghost").fields["death"] == "killed by Ann: a ghost"
    assert LogEntry("version=3.4.3:points=5:death=quit").fields == {"version": "3.4.3", "points": "5", "death": "quit"}


def test_a_name_that_no_file_can_have_is_one_that_is_not_there(tmp_path):
    log = tmp_path / "nle.1.xlogfile"
    log.write_text(f"points=1\tttyrecname={'x' * 300}\npoints=2\tttyrecname=a\0b\n")
    missing = LogBook([(log, "log")]).missing
    assert [line.endswith("is not there") for line in missing] == [True, True]
