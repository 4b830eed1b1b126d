"""Learning environments and APPO with imitation. Nothing is here yet."""
