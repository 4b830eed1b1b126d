"""The commands that need several folders: they sum up played games, and replay games whose frames are not stored."""
