"""AutoAscend, key for key the same and three times as fast.

Nothing of the bot's package is copied or edited. Functions that cost most are written anew, and stand in the place of
the package's own while a game is played (:mod:`strathack.collect.demonstrators.fast.replacing`). Each returns what the
original returns and changes what it changes; where a case is rare or unclear, the original runs.
"""

from strathack.collect.demonstrators.package import load_bot

load_bot()  # the modules of this package import the bot's by name
