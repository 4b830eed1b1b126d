"""The report: one page about a dataset or an evaluation, which needs no network."""
