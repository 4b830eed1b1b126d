"""Statistics and pictures of datasets. Needs no simulator."""
