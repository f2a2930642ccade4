"""Settings and protocol of the finders of phrases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, runtime_checkable
from urllib.parse import urlsplit

from pydantic import ConfigDict

from viewgen.records import Phrase
from viewgen.settings import STRICT

_A_DAY_S = 86_400
_ABOVE_ZERO = ("timeout_s", "concurrency", "max_attempts", "max_new_tokens", "batch_size", "max_phrases")


@dataclass(frozen=True, slots=True, kw_only=True)
class PhrasesConfig:
    """Finder of phrases, and its access. `rules` needs no other setting."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    kind: Literal["rules", "spacy", "chat"] = "rules"
    """rules: patterns for English, nothing to download. spacy: noun chunks of a spaCy pipeline. chat: a language model,
    behind an OpenAI-compatible endpoint (`base_url`) or, without one, a folder that transformers can load."""
    model: str = ""
    """spacy: a pipeline's name or folder. chat: the model's name at the endpoint, or the folder of a local one."""
    base_url: str = ""
    """chat: where the endpoint is, up to and with its version, as in http://127.0.0.1:8000/v1. Empty: a local model."""
    key_env: str = ""
    """chat: the environment variable that holds the endpoint's key. Empty: the endpoint wants none."""
    timeout_s: float = 60.0
    """chat: seconds to wait for a connection or for bytes of an answer, more than 0 and at most a day. Ours."""
    max_attempts: int = 5
    """chat: how often a question is sent when the endpoint is busy, fails or is silent, 1 or more. Ours."""
    backoff_s: float = 1.0
    """chat: seconds before the second attempt, doubled for each one after and at most 60; 0 or more. An endpoint that
    says how long to wait (Retry-After) is heeded instead."""
    concurrency: int = 8
    """chat: questions that are with the endpoint at once, 1 or more. Ours."""
    max_new_tokens: int = 256
    """chat: tokens of an answer, 1 or more. Ours: a few phrases; reasoning models need more."""
    batch_size: int = 8
    """chat: questions that a local model reads at once, 1 or more. Ours."""
    device: str = "auto"
    """chat: where a local model runs. auto: the GPU where there is one. Else torch's name: cpu, cuda, cuda:1."""
    max_phrases: int = 4
    """spacy and chat: phrases kept per question, in the order in which they stand, 1 or more. Ours."""

    def __post_init__(self) -> None:
        for name in _ABOVE_ZERO:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}: expected more than 0")
        if self.timeout_s > _A_DAY_S:
            raise ValueError(f"timeout_s is {self.timeout_s}: expected at most {_A_DAY_S}, a day")
        if not 0 <= self.backoff_s < float("inf"):
            raise ValueError(f"backoff_s is {self.backoff_s}: expected 0 or more")
        if self.kind == "rules" and (self.model or self.base_url):
            raise ValueError('model and base_url are of no use to kind \'rules\': say kind = "spacy" or "chat"')
        if self.kind != "rules" and not self.model:
            raise ValueError(f"kind {self.kind!r} needs a model: give its name or path")
        if self.base_url or self.key_env:
            self._check_endpoint()

    def _check_endpoint(self) -> None:
        if self.kind != "chat" or not self.base_url:
            raise ValueError("base_url and key_env belong together and to kind 'chat'")
        try:
            url = urlsplit(self.base_url)
            usable = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
            str(url.hostname).encode("idna")  # as a connection will
        except ValueError:
            usable = False
        if not usable or url.query or url.fragment or " " in self.base_url or not url.path.isascii():
            raise ValueError(f"base_url is {self.base_url!r}: expected something like http://127.0.0.1:8000/v1")
        if url.username or url.password:
            raise ValueError("base_url holds a name or password: name an environment variable in key_env instead")


@runtime_checkable
class PhraseFinder(Protocol):
    """Finds the phrases of questions. An empty question has none."""

    @property
    def models(self) -> Mapping[str, str]:
        """Model name -> sha256 of its weights (`unknown` behind an endpoint); empty when no model is used."""
        ...

    def find(self, questions: Sequence[str]) -> list[tuple[Phrase, ...]]:
        """One entry per question, its phrases in the order in which they stand; text == question[start:end]."""
        ...
