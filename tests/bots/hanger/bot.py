"""Takes ten steps, then hangs in a place that no check between steps can reach."""

import time


class Bot:
    def reset(self, observation):
        self.steps = 0

    def act(self, observation):
        self.steps += 1
        if self.steps > 10:
            time.sleep(10_000)
        return 0


def make_agent():
    return Bot()
