"""What those that ask an endpoint share: settings, a budget, threads, and when the endpoint counts as gone."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import Field, field_validator

from stages.chat import Budget, BudgetError, Chat, UnansweredError, endpoint
from stages.errors import ResourceError
from stages.settings import Settings, speed

PATIENCE = 8
"""Questions without an answer, one after the other, after which the endpoint counts as gone."""

T = TypeVar("T")
R = TypeVar("R")


class Asks(Settings):
    """An endpoint and what may be spent on it."""

    url: str = Field(description="the endpoint up to /v1, for instance http://localhost:8000/v1")
    max_requests: int = Field(
        1_000,
        ge=0,
        description="requests a run of the stage, repeated ones included; what is left then is asked in the next run",
    )
    max_tokens: int | None = Field(
        None, ge=0, description="tokens a run of the stage, as the endpoint reports them; none is no limit"
    )
    document_chars: int = Field(
        4_000, ge=1, description="characters after which a document is cut; cost grows in proportion"
    )
    key_variable: str = speed(
        "OPENAI_API_KEY", "environment variable that holds the key; where it is not set none is sent"
    )
    timeout: float = speed(60.0, "seconds that an answer may take", gt=0)
    attempts: int = speed(4, "attempts a question, when the endpoint is busy or does not answer", ge=1)
    backoff: float = speed(1.0, "seconds before the second attempt; doubles with each one", ge=0)
    workers: int = speed(4, "questions asked at a time", ge=1)

    @field_validator("url")
    @classmethod
    def _is_web(cls, url: str) -> str:
        return endpoint(url, f"{cls.__module__.removeprefix('stages.')}.url")

    def line(self, title: str, log: Callable[[str], None]) -> Line:
        """A line to the endpoint, which is not called yet. The log calls it by its title."""
        budget = Budget(self.max_requests, self.max_tokens)
        key = os.environ.get(self.key_variable)
        chat = Chat(self.url, key, self.timeout, self.attempts, self.backoff, budget)
        return Line(chat, self.workers, title, log)


@dataclass
class Line:
    """An endpoint that is asked in several threads. `counts` says why questions have no answer."""

    chat: Chat
    workers: int
    title: str
    log: Callable[[str], None]
    counts: dict[str, int] = field(default_factory=lambda: {"unreadable": 0, "unanswered": 0, "spent": 0})
    failures: int = 0  # questions without an answer since the last one with

    def ask_all(self, ask: Callable[[T], R | None], about: Sequence[T]) -> list[R | None]:
        """What `ask` reads in the answers about each; None where the answer cannot be read or there is none.

        Raises ResourceError when the endpoint refuses, or counts as gone.
        """
        self.check_there()
        spent = self.counts["spent"]
        with ThreadPoolExecutor(self.workers) as threads:
            answers = list(threads.map(lambda one: self._ask(ask, one), about))
        for missing, _ in answers:
            if missing:
                self.counts[missing] += 1
        if self.counts["spent"] and not spent:
            used = self.chat.budget
            self.log(
                f"{self.title}: the budget is spent after {used.used_requests:,} requests and {used.used_tokens:,} tokens"
            )
        return [found for _, found in answers]

    def _ask(self, ask: Callable[[T], R | None], one: T) -> tuple[str, R | None]:
        """The name of the count of what has no answer, empty where there is one, and what was read."""
        if self.failures >= PATIENCE:
            return "unanswered", None
        try:
            found = ask(one)
        except BudgetError:
            return "spent", None
        except UnansweredError:
            self.failures += 1
            return "unanswered", None
        except ResourceError:
            self.failures = PATIENCE  # so that no other thread asks any more
            raise
        self.failures = 0
        return ("unreadable" if found is None else ""), found

    def check_there(self) -> None:
        """Raises ResourceError when the endpoint counts as gone; call it again once what it gave is stored."""
        if self.failures >= PATIENCE:
            raise ResourceError(
                "the endpoint does not answer",
                where=self.chat.url,
                got=f"{self.failures} questions in a row without an answer, {self.chat.attempts} attempts each",
                try_="start it and run again: its answers are kept",
            )
