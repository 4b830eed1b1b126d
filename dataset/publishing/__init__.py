"""Datasets as others find, check and load them: tables, a card, a description for machines, checksums."""
