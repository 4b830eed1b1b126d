"""Recordings made up record by record."""

import struct

START = 1698000000


def record(channel, payload, seconds=START):
    """A record of a ttyrec2 or later."""
    return struct.pack("<iiiB", seconds, 0, len(payload), channel) + payload


def output(text, seconds=START):
    return record(0, text, seconds)


def key(code, seconds=START):
    return record(1, code, seconds)


def score(points, seconds=START):
    return record(2, struct.pack("<i", points), seconds)


def game_of_steps(steps, version=3):
    """A game of so many steps, each with a screen of its own."""
    records = [output(b"\x1b[1;1Hbegun")]
    for step in range(steps):
        records.append(key(b"hjkl"[step % 4 : step % 4 + 1]))
        records += [score(step)] if version > 2 else []
        records.append(output(b"\x1b[1;1Hstep %d" % step))
    return b"".join(records)


def game_that_ends(*, turns, points, start=START, end=START, over=True):
    """A ttyrec3 whose bottom line shows its turn, and after a death no more."""
    bottom = b"\x1b[24;1HDlvl:1 HP:14 T:%d" % turns
    records = [output(b"\x1b[1;1Hbegun" + bottom, start), score(0, start)]
    records += [key(b"h", start), output(b"\x1b[1;1Hon", start), score(points, end), key(b"j", end), output(b" ", end)]
    if over:
        records += [score(0, end), output(b"\x1b[2J\x1b[1;1HGoodbye", end), key(b"\r", end)]
    return b"".join(records)
