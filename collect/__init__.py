"""Collects games: demonstrators, their strategy at every step, playing one game, playing many games on Ray."""
