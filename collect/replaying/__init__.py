"""Plays stored games again: from their keys, or by the demonstrator that played them."""
