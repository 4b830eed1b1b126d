"""Walks at random, and says that it wanders or rests."""

import random


class Bot:
    strategy = None

    def reset(self, observation):
        self.strategy = None

    def act(self, observation):
        self.strategy = random.choice(["wander", "rest", "explore", None])
        return random.randrange(8)  # the eight compass directions


def make_agent():
    return Bot()
