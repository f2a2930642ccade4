"""Settings of the finders of phrases. Their refusals are tested with the finder that they concern (test_chat.py)."""

from __future__ import annotations

from viewgen.phrases import PhraseFinder, PhrasesConfig, phrase_finder


def test_without_settings_the_rules_find_phrases_and_no_model_is_used() -> None:
    finder = phrase_finder(PhrasesConfig())
    assert isinstance(finder, PhraseFinder)
    assert dict(finder.models) == {}
    assert [phrase.text for phrase in finder.find(["What is on the red sign?", ""])[0]] == ["the red sign"]


def test_a_model_behind_an_endpoint_is_a_whole_configuration() -> None:
    config = PhrasesConfig(method="chat", model="m", base_url="http://127.0.0.1:8000/v1", key_env="KEY")
    assert (config.timeout_s, config.max_attempts, config.concurrency) == (60.0, 5, 8)
