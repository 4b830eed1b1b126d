"""Limits of games that are known without a simulator."""

NO_PROGRESS_TIMEOUT = 1000
"""NLE's limit on steps without progress, as in the published HiHack games."""
