"""Language models as players: what they are asked, how they are reached, and what becomes of their replies."""
