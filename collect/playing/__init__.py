"""Playing one game from its seed: the simulator, the clock it runs at, and everything recorded on the way."""
