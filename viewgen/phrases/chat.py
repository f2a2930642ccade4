"""Find phrases with a language model behind an OpenAI-compatible endpoint, several questions at a time.
Leaves out: the prompt and the parsing of answers (answers.py). Follows no redirect: the key goes to no other host."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from types import MappingProxyType
from urllib.parse import urlsplit

from viewgen.errors import ModelError, SettingsError
from viewgen.phrases.answers import phrases_in, prompt_for
from viewgen.phrases.config import PhrasesConfig
from viewgen.records import Phrase

_BUSY = frozenset({408, 429, 500, 502, 503, 504, 529})
_MAX_WAIT_S = 60.0
_MAX_BYTES = 4_000_000


@dataclass(frozen=True, slots=True)
class _Reply:
    """A response. Status 0: there was none, and `text` is the reason."""

    status: int
    text: str
    wait_s: float | None = None
    """Seconds to wait, from the endpoint's Retry-After."""


@dataclass(frozen=True, slots=True)
class ChatFinder:
    """Finder that sends each distinct question to an endpoint once."""

    config: PhrasesConfig
    key: str = field(repr=False)

    @classmethod
    def at(cls, config: PhrasesConfig) -> ChatFinder:
        """Create a finder; nothing is sent yet. Raises SettingsError when the environment variable of the key is not set
        or its value cannot be sent."""
        key = os.environ.get(config.key_env, "").strip() if config.key_env else ""
        if config.key_env and not key:
            raise SettingsError(f"phrases.key_env is {config.key_env!r}: no such variable is set. Set it to the key.")
        if not (key.isascii() and key.isprintable()):
            raise SettingsError(
                f"the key in {config.key_env} holds letters that no header can. Set it to the key alone."
            )
        return cls(config, key)

    @property
    def models(self) -> Mapping[str, str]:
        return MappingProxyType({f"{self.config.model} at {self.config.base_url}": "unknown"})

    def find(self, questions: Sequence[str]) -> list[tuple[Phrase, ...]]:
        """Return the phrases of each question. Raises ModelError when the endpoint refuses a question, answers in another
        format, or is still busy or silent after the last attempt."""
        distinct = [question for question in dict.fromkeys(questions) if question.strip()]
        with ThreadPoolExecutor(self.config.concurrency) as threads:
            sent = [threads.submit(self._ask, question) for question in distinct]
            try:
                answers = [each.result() for each in sent]
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                raise
        max_phrases = self.config.max_phrases
        found = {q: phrases_in(answer, q, max_phrases) for q, answer in zip(distinct, answers, strict=True)}
        return [found.get(question, ()) for question in questions]

    def _ask(self, question: str) -> str:
        body = {
            "model": self.config.model,
            "messages": [{"role": "user", "content": prompt_for(question)}],
            "temperature": 0,
            "seed": 0,
            "max_tokens": self.config.max_new_tokens,
        }
        reply = self._send(json.dumps(body).encode())
        for attempt in range(1, self.config.max_attempts):
            if reply.status and reply.status not in _BUSY:
                break
            wait_s = self.config.backoff_s * 2 ** (attempt - 1) if reply.wait_s is None else reply.wait_s
            time.sleep(min(wait_s, _MAX_WAIT_S))
            reply = self._send(json.dumps(body).encode())
        return self._content(reply)

    def _send(self, body: bytes) -> _Reply:
        url = urlsplit(self.config.base_url)
        kind = HTTPSConnection if url.scheme == "https" else HTTPConnection
        connection = kind(str(url.hostname), url.port, timeout=self.config.timeout_s)
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        try:
            connection.request("POST", url.path.rstrip("/") + "/chat/completions", body, headers)
            response = connection.getresponse()
            text = response.read(_MAX_BYTES).decode("utf-8", errors="replace")
            return _Reply(response.status, text, _seconds(response.getheader("Retry-After")))
        except (OSError, HTTPException) as error:
            return _Reply(0, str(error) or type(error).__name__)
        finally:
            connection.close()

    def _content(self, reply: _Reply) -> str:
        where = f"{self.config.base_url}/chat/completions"
        said = " ".join(reply.text.replace(self.key, "***").split() if self.key else reply.text.split())[:200]
        if reply.status == 0:
            raise ModelError(f"{where}: no answer in {self.config.max_attempts} attempts ({said}). Is base_url right?")
        if reply.status in _BUSY:
            told = f"status {reply.status} after {self.config.max_attempts} attempts"
            raise ModelError(f"{where}: {told}: {said!r}. Raise max_attempts or backoff_s, or lower concurrency.")
        if reply.status in (401, 403):
            named = f"Check the key in {self.config.key_env}." if self.key else "Name the key's variable in key_env."
            raise ModelError(f"{where}: status {reply.status}: {said!r}. {named}")
        if reply.status != 200:
            raise ModelError(f"{where}: status {reply.status}: {said!r}. Check base_url and model.")
        try:
            content = json.loads(reply.text)["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError, RecursionError):
            expected = "expected the OpenAI format, choices[0].message.content"
            raise ModelError(f"{where}: answered {said!r}: {expected}. Is base_url right?") from None
        return content if isinstance(content, str) else ""


def _seconds(header: str | None) -> float | None:
    return float(header) if header and header.isascii() and header.isdigit() else None
