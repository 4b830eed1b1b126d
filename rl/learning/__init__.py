"""Learning from what was played: APPO, imitation, and the loop around them."""
