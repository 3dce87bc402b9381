"""Asks an OpenAI-compatible endpoint, with retries and a budget. The key is read from the environment and never shown."""

from __future__ import annotations

import json
import random
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPMessage
from typing import IO, Any
from urllib.parse import urlsplit

from stages.errors import ConfigError, ResourceError

LONGEST_WAIT = 60.0
"""Seconds that are waited at most before an attempt, whatever the endpoint asks for."""

LARGEST_ANSWER = 1_000_000
"""Bytes of an answer that are read."""

AGAIN = {408, 409, 425, 429, 500, 502, 503, 504, 529}
"""Statuses after which an attempt is repeated; any other one will not change."""


class BudgetError(Exception):
    """No request may be made any more."""


class UnansweredError(Exception):
    """The endpoint gave no answer in all attempts."""


def endpoint(url: str, where: str) -> str:
    """The url, when it can be that of an endpoint. Raises ConfigError, which shows nothing of it."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
        raise ConfigError(
            "the url is not that of an endpoint", where=where, got=parts.scheme or "no scheme",
            try_="http://HOST:PORT/v1 or https://HOST/v1, without a name or a password in it",
        )  # fmt: skip
    return url


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key elsewhere: it counts as an error."""

    def redirect_request(  # noqa: PLR0917
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        return None


@dataclass
class Budget:
    """How much may still be asked, for all threads together."""

    requests: int
    tokens: int | None
    used_requests: int = 0
    used_tokens: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def take(self) -> None:
        """Counts one request before it is made. Raises BudgetError."""
        with self._lock:
            if self.used_requests >= self.requests or (self.tokens is not None and self.used_tokens >= self.tokens):
                raise BudgetError
            self.used_requests += 1

    def spend(self, tokens: int) -> None:
        with self._lock:
            self.used_tokens += tokens


@dataclass(frozen=True)
class Chat:
    """One endpoint."""

    url: str  # up to /v1
    key: str | None = field(repr=False)
    timeout: float  # seconds
    attempts: int
    backoff: float  # seconds before the second attempt; doubles with each
    budget: Budget
    wait: Callable[[float], None] = time.sleep

    def ask(self, model: str, system: str, prompt: str, max_tokens: int) -> str:
        """The answer's text, empty for an answer that has none.

        Raises BudgetError, UnansweredError, and ResourceError when the endpoint refuses for good.
        """
        body = {
            "model": model,
            "messages": [{"role": "system", "content": system}, {"role": "user", "content": prompt}],
            "temperature": 0,
            "max_tokens": max_tokens,
        }
        for attempt in range(self.attempts):
            self.budget.take()
            after = None
            try:
                return self._content(self._post(body))
            except urllib.error.HTTPError as error:
                with error:
                    if error.code not in AGAIN:
                        raise self._refused(error.code) from None
                    after = _seconds(error.headers)
            except (OSError, HTTPException):
                pass
            if attempt + 1 < self.attempts:
                pause = (
                    self.backoff * 2**attempt * (1 + random.random() / 4)
                )  # apart, so that threads do not return at once
                self.wait(min(LONGEST_WAIT, pause if after is None else max(after, pause)))
        raise UnansweredError

    def _post(self, body: Mapping[str, Any]) -> bytes:
        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        url = self.url.rstrip("/") + "/chat/completions"
        request = urllib.request.Request(url, json.dumps(body).encode(), headers, method="POST")
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=self.timeout) as answer:
            data: bytes = answer.read(LARGEST_ANSWER)
            return data

    def _content(self, data: bytes) -> str:
        try:
            answer = json.loads(data)
            content = answer["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError):
            return ""
        usage = answer.get("usage")
        tokens = usage.get("total_tokens") if isinstance(usage, dict) else None
        if isinstance(tokens, int) and tokens > 0:
            self.budget.spend(tokens)
        return content if isinstance(content, str) else ""

    def _refused(self, status: int) -> ResourceError:
        says = {
            400: "the name of the model, or a shorter document_chars",
            401: "the key in the variable that key_variable names",
            403: "the rights of the key",
            404: "the url, up to /v1, and the name of the model",
        }
        return ResourceError(
            "the endpoint refuses", where=self.url, got=f"HTTP status {status}",
            try_=says.get(status, "the url; redirects are not followed"),
        )  # fmt: skip


def _seconds(headers: Any) -> float | None:
    """What Retry-After asks for, where it is a number."""
    try:
        seconds = float(headers.get("Retry-After", ""))
    except (ValueError, AttributeError):
        return None
    return seconds if seconds >= 0 else None
