"""Offline reinforcement learning on recorded games: AWAC, IQL, CQL and REM, over any policy."""
