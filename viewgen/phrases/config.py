"""Define the settings and the protocol of phrase finders.
Leaves out: the choice of the finder (__init__.py) and the finders (rules.py, spacy.py, chat.py, local.py)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Protocol, runtime_checkable
from urllib.parse import urlsplit

from pydantic import ConfigDict

from viewgen.records import Phrase
from viewgen.settings import STRICT, Range, SettingValueError, check_ranges

A_DAY_S = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class PhrasesConfig:
    """Finder of phrases, and its access. `rules` needs no other setting."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    __renamed__: ClassVar[Mapping[str, str]] = {"kind": "method"}

    method: Literal["rules", "spacy", "chat"] = "rules"
    """rules: patterns for English, nothing to download. spacy: noun chunks of a spaCy pipeline. chat: a language model,
    behind an OpenAI-compatible endpoint (`base_url`) or, without one, a folder that transformers can load."""
    model: str = ""
    """spacy: a pipeline's name or folder. chat: the model's name at the endpoint, or the folder of a local one."""
    base_url: str = ""
    """chat: where the endpoint is, up to and with its version, as in http://127.0.0.1:8000/v1. Empty: a local model."""
    key_env: str = ""
    """chat: the environment variable that holds the endpoint's key. Empty: the endpoint wants none."""
    timeout_s: Annotated[float, Range(gt=0, le=A_DAY_S, unit="s")] = 60.0
    """chat: seconds to wait for a connection or for bytes of an answer, more than 0 and at most a day. Ours."""
    max_attempts: Annotated[int, Range(ge=1)] = 5
    """chat: how often a question is sent when the endpoint is busy, fails or is silent, 1 or more. Ours."""
    backoff_s: Annotated[float, Range(ge=0, unit="s")] = 1.0
    """chat: seconds before the second attempt, doubled for each one after and at most 60; 0 or more. An endpoint that
    says how long to wait (Retry-After) is heeded instead."""
    concurrency: Annotated[int, Range(ge=1)] = 8
    """chat: questions that are with the endpoint at once, 1 or more. Ours."""
    max_new_tokens: Annotated[int, Range(ge=1, unit="tokens")] = 256
    """chat: tokens of an answer, 1 or more. Ours: a few phrases; reasoning models need more."""
    batch_size: Annotated[int, Range(ge=1)] = 8
    """chat: questions that a local model reads at once, 1 or more. Ours."""
    device: str = "auto"
    """chat: where a local model runs. auto: the GPU where there is one. Else torch's name: cpu, cuda, cuda:1."""
    max_phrases: Annotated[int, Range(ge=1)] = 4
    """spacy and chat: phrases kept per question, in the order in which they stand, 1 or more. Ours."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.method == "rules":
            for name in ("model", "base_url"):
                if value := getattr(self, name):
                    raise SettingValueError(
                        name, value, 'empty for method "rules"', 'Set phrases.method to "spacy" or "chat".'
                    )
        elif not self.model:
            raise SettingValueError("model", "", f"a name or a path for method {self.method!r}", "Give one.")
        if self.base_url or self.key_env:
            self._check_endpoint()

    def _check_endpoint(self) -> None:
        if self.method != "chat":
            name = "base_url" if self.base_url else "key_env"
            remedy = 'Set phrases.method to "chat" or leave it out.'
            raise SettingValueError(name, getattr(self, name), f"empty for method {self.method!r}", remedy)
        if not self.base_url:
            raise SettingValueError("key_env", self.key_env, "empty without a base_url", "Give phrases.base_url too.")
        try:
            url = urlsplit(self.base_url)
            usable = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
            str(url.hostname).encode("idna")  # as a connection will
        except ValueError:
            usable = False
        if not usable or url.query or url.fragment or " " in self.base_url or not url.path.isascii():
            raise SettingValueError(
                "base_url", self.base_url, "an address such as http://127.0.0.1:8000/v1", "Correct it."
            )
        if url.username or url.password:
            shown = f"{url.scheme}://...@{url.hostname}"
            remedy = "Name an environment variable in phrases.key_env instead."
            raise SettingValueError("base_url", shown, "an address without a name or password", remedy)


@runtime_checkable
class PhraseFinder(Protocol):
    """Finder of the phrases of questions. An empty question has none."""

    @property
    def models(self) -> Mapping[str, str]:
        """Model name -> sha256 of its weights (`unknown` behind an endpoint); empty when no model is used."""
        ...

    def find(self, questions: Sequence[str]) -> list[tuple[Phrase, ...]]:
        """Return one entry per question: its phrases in the order of the question; text == question[start:end]."""
        ...
