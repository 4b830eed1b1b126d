"""The report: one page, without a network, of a dataset or an evaluation."""
