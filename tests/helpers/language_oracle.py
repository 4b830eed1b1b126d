"""Run with an environment that has balrog-nle, whose compiled wrapper says what observations are in words.

    python language_oracle.py OBSERVATIONS.npz TEXTS.json

Writes the five texts of each observation, and prints observations a second.
"""

import json
import sys
import time

import numpy as np
from nle.nle_language_obsv import NLELanguageObsv


def main(observations: str, texts: str) -> None:
    """Describes every observation of a file."""
    arrays = dict(np.load(observations))
    # What the wrapper takes, so that nothing is converted while the clock runs.
    arrays |= {key: arrays[key].astype(np.int64) for key in ("blstats", "tty_cursor")}
    steps = [{key: array[step] for key, array in arrays.items()} for step in range(len(arrays["glyphs"]))]
    wrapper = NLELanguageObsv()
    begin = time.perf_counter()
    found = [
        (
            wrapper.text_blstats(step["blstats"]),
            wrapper.text_glyphs(step["glyphs"], step["blstats"]),
            wrapper.text_message(step["tty_chars"]),
            wrapper.text_inventory(step["inv_strs"], step["inv_letters"]),
            wrapper.text_cursor(step["glyphs"], step["blstats"], step["tty_cursor"]),
        )
        for step in steps
    ]
    print(len(steps) / (time.perf_counter() - begin))
    with open(texts, "w") as file:
        json.dump([[part.decode("latin-1") for part in parts] for parts in found], file)


if __name__ == "__main__":
    main(*sys.argv[1:])
