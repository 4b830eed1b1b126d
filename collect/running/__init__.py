"""Doing many jobs: in this process or in Ray workers, with nothing left behind however they end."""
