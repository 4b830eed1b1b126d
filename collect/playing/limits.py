"""Limits of games that are known without a simulator."""

NO_PROGRESS_TIMEOUT = 1000
"""NLE's limit on frames without progress, as in the published HiHack games."""

NO_PROGRESS_STEPS = NO_PROGRESS_TIMEOUT // 2
"""Steps without a turn after which NLE ends a game by that limit: each of its steps counts two frames."""
