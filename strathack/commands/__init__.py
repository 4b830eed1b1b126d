"""The commands that need several folders: what is played is summed up, what is not stored is replayed."""
