"""Games as text: observations in words, for language models."""

from strathack.text.describing import DIALECTS, TextObservation, describe

__all__ = ["DIALECTS", "TextObservation", "describe"]
