"""Games that a language model plays: each asks by itself, so that a slow answer holds up one game alone."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

import numpy as np

from strathack.collect.running.pools import POLL_SECONDS, Finished, Outcome
from strathack.dataset.actions import ACTION_NAMES, NO_ACTION
from strathack.dataset.errors import RunError
from strathack.dataset.replies import Replied
from strathack.rl.acting.inference import Place
from strathack.rl.acting.workers import RolloutWorkers
from strathack.rl.config import LanguageConfig, Prompt
from strathack.rl.evaluating.pool import SeedPool
from strathack.rl.language.asking import Client, UnansweredError
from strathack.rl.language.conversations import BalrogPrompter
from strathack.rl.language.histories import HistoryPrompter
from strathack.rl.language.prompting import Move, Prompter
from strathack.rl.language.replies import Replies, digest, kept_text
from strathack.text.describing import NEEDED

GIVEN_UP_AFTER = 5
"""Games that are cut one after another, for want of an answer, with none between; then the server is down."""

ANSWER_SECONDS = 0.01
"""Seconds to wait for an answer before the rollout workers are heard again."""


@dataclass(frozen=True)
class LanguagePlayer:
    """A language model as a player.

    Attributes:
        client: Reaches the model.
        prompt: The form of its prompts.
        config: How it is asked.
        strategies: Names of the strategies that it may tell; a name's index is its code in the recorded games.
        folder: The dataset's folder, which keeps the replies.
    """

    client: Client
    prompt: Prompt
    config: LanguageConfig
    strategies: tuple[str, ...]
    folder: Path

    actions = ACTION_NAMES
    observations = (*NEEDED, "tty_colors")

    def prompter(self) -> Prompter:
        """Returns what one game is asked by."""
        return (BalrogPrompter if self.prompt == "balrog" else HistoryPrompter)(self.config)


class Conversation:
    """A game's conversation with a model.

    Args:
        client: Reaches the model.
        prompter: What is asked.
        replies: Where replies are kept.
    """

    def __init__(self, client: Client, prompter: Prompter, replies: Replies) -> None:
        self._client, self._prompter, self._replies = client, prompter, replies

    def choose(self, step: int, observation: Mapping[str, np.ndarray]) -> Move:
        """Returns what to do on a frame; asks the model only if this is not known.

        Args:
            step: The index of the step.
            observation: The frame.

        Raises:
            UnansweredError: If the model does not answer.
            RunError: If its reply cannot be written.
        """
        pages = self._prompter.pages(observation)
        if pages:
            return Move(pages)
        self._prompter.look(observation)
        prompt = self._prompter.asked(self._client)
        asked = digest(prompt)
        known = self._replies.known(step, asked)
        if known is not None:
            self._replies.keep(known)
            return self._prompter.understood(known.reply)
        began = time.monotonic()
        try:
            answer = self._prompter.ask(self._client, prompt)
        except UnansweredError as error:
            seconds = time.monotonic() - began
            self._replies.add(Replied(step, asked, "", "", False, 0, 0, seconds, str(error)))
            raise
        # What is kept is what is understood, so that a game that is played again is the same.
        reply = kept_text(answer.text)
        move = self._prompter.understood(reply)
        used = answer.tokens_in, answer.tokens_out, answer.seconds
        self._replies.add(Replied(step, asked, reply, " ".join(move.actions), move.valid, *used))
        return move

    def finish(self) -> None:
        """Keeps the whole game's replies."""
        self._replies.finish()

    def close(self) -> None:
        """Ends the conversation of a game that goes on another time."""
        self._replies.close()


class _Game:
    """An env group of one lane: its conversation, and what is still to be done of the last reply."""

    def __init__(self, seed: int, conversation: Conversation) -> None:
        self.seed, self.conversation = seed, conversation
        self.left: deque[str] = deque()
        self.strategy = NO_ACTION


@dataclass(frozen=True)
class _Question:
    place: Place
    game: _Game
    step: int
    observation: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class _Decided:
    question: _Question
    move: Move | Exception


class LanguagePool(SeedPool):
    """Plays seeds with a language model, one game in every env group, each with a thread that asks.

    Args:
        workers: The rollout workers, with one environment in each env group.
        player: The player.
    """

    def __init__(self, workers: RolloutWorkers, player: LanguagePlayer) -> None:
        super().__init__(workers, {})
        self._player = player
        self._games: dict[int, _Game] = {}
        self._questions: SimpleQueue[_Question | None] = SimpleQueue()
        self._answers: SimpleQueue[_Decided] = SimpleQueue()
        self._asking = self._unanswered = 0
        self._threads = [
            threading.Thread(target=_ask_all, args=(self._questions, self._answers), daemon=True)
            for _ in range(self._lanes)
        ]
        for thread in self._threads:
            thread.start()

    def poll(self) -> Sequence[Outcome]:
        """See :class:`SeedPool`."""
        self._take_answers()
        outcomes, places = self.heard(0.0 if self._asking else POLL_SECONDS, 1)
        for outcome in outcomes:
            game = self._games.pop(outcome.job, None)
            if game is not None:
                (game.conversation.finish if isinstance(outcome, Finished) else game.conversation.close)()
        for place in places:
            self._go_on(place)
        return outcomes

    def _go_on(self, place: Place) -> None:
        """Steps an env group whose next action is known, or has the model asked."""
        group = self._groups[place.index]
        arrays = group.arrays
        if not arrays["acted"][0, place.row, 0]:
            self.step(place)  # which begins the next game
            return
        seed = int(group.seeds[0])
        if arrays["first"][0, place.row, 0]:
            if seed in self._games:  # its worker was lost, and an answer to that try may still come
                self._games[seed].conversation.close()
            replies = Replies(self._player.folder, seed)
            self._games[seed] = _Game(seed, Conversation(self._player.client, self._player.prompter(), replies))
        game = self._games[seed]
        if game.left:
            self._act(place, game)
            return
        # A copy, since the rows are written in turn.
        seen = {key: arrays[key][0, place.row, 0].copy() for key in self._player.observations}
        self._asking += 1
        self._questions.put(_Question(place, game, int(group.played[0]), seen))

    def _take_answers(self) -> None:
        """Steps the env groups whose models have answered."""
        timeout = ANSWER_SECONDS if self._asking else 0.0
        while self._asking:
            try:
                decided = self._answers.get(timeout=timeout)
            except Empty:
                return
            timeout = 0.0
            self._asking -= 1
            question = decided.question
            if self._groups.get(question.place.index) is not question.place.group:
                continue  # its worker was replaced meanwhile
            if isinstance(decided.move, UnansweredError):
                self._unanswered += 1
                if self._unanswered == GIVEN_UP_AFTER:
                    games = f"{GIVEN_UP_AFTER} games one after another"
                    raise RunError(f"{games} had no answer ({decided.move}); the same command goes on")
                self._workers.stop(question.place.index, question.place.slot, question.place.row)
            elif isinstance(decided.move, Exception):
                raise decided.move
            else:
                self._unanswered = 0
                question.game.left.extend(decided.move.actions)
                question.game.strategy = self._code_of(decided.move.strategy)
                self._act(question.place, question.game)

    def _code_of(self, strategy: str) -> int:
        names = self._player.strategies
        return names.index(strategy) if strategy in names else NO_ACTION

    def _act(self, place: Place, game: _Game) -> None:
        arrays = place.group.arrays
        arrays["actions"][0, place.row, 0] = ACTION_NAMES.index(game.left.popleft())
        arrays["strategy"][0, place.row, 0] = game.strategy
        self.step(place)

    def close(self) -> None:
        """Ends the rollout workers, and gives up what is being asked."""
        for _ in self._threads:
            self._questions.put(None)
        self._player.client.close()
        super().close()
        for game in self._games.values():
            game.conversation.close()


def _ask_all(questions: SimpleQueue[_Question | None], answers: SimpleQueue[_Decided]) -> None:
    """Asks one question after another, until there is none."""
    while (question := questions.get()) is not None:
        move: Move | Exception
        try:
            move = question.game.conversation.choose(question.step, question.observation)
        except Exception as error:  # noqa: BLE001  (raised again in the thread that plays)
            move = error
        answers.put(_Decided(question, move))
