"""n-grams of tokens, as a measure for language models."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from strathack.text.encoding import IGNORED, Encoded


class NGrams:
    """Interpolated n-grams with Witten-Bell smoothing (Chen, Goodman, 1999, 2.5); the last resort is uniform.

    Args:
        order: Tokens of the longest n-gram.
        vocabulary: How many tokens there are.
    """

    def __init__(self, order: int, vocabulary: int) -> None:
        self.order, self.vocabulary = order, vocabulary
        self._counts: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)

    def learn(self, texts: Iterable[Sequence[int]]) -> None:
        """Counts the n-grams of some texts."""
        for tokens in texts:
            for place, token in enumerate(tokens):
                for length in range(min(self.order, place + 1)):
                    self._counts[tuple(tokens[place - length : place])][token] += 1

    def probability(self, history: Sequence[int], token: int) -> float:
        """Returns the probability of a token after others."""
        probability = 1 / self.vocabulary
        for length in range(min(self.order, len(history) + 1)):
            counts = self._counts.get(tuple(history[len(history) - length :]))
            if counts is None:
                break
            total, kinds = counts.total(), len(counts)
            probability = (counts[token] + kinds * probability) / (total + kinds)
        return probability

    def loss(self, texts: Iterable[Encoded]) -> float:
        """Returns the mean negative log-probability of the tokens that carry loss, in nats."""
        total, count = 0.0, 0
        for text in texts:
            for place, label in enumerate(text.labels):
                if label != IGNORED and place:
                    history = text.tokens[max(place - self.order + 1, 0) : place]
                    total -= math.log(self.probability(history, label))
                    count += 1
        return total / count
