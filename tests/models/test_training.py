"""Training runs: exact resumption, a SIGTERM, several processes, refusals."""
