"""Collecting: demonstrators, what they pursue at every step, one game, many games on Ray."""
