"""Evaluating: every seed played once, each game to its end."""
