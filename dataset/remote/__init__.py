"""Datasets and policies elsewhere."""
