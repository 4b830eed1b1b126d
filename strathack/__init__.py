"""NetHack demonstrations with the demonstrator's strategy at every step, and hierarchical imitation."""

__version__ = "0.1.0"
