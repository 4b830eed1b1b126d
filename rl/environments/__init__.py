"""Environments to learn in and to evaluate in, stepped in env groups."""
