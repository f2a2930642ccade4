"""Phrases as noun chunks: what is said without spaCy, and, where it is installed, what a small real pipeline finds."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from viewgen.errors import ModelError
from viewgen.phrases import PhrasesConfig, phrase_finder

HEADS = {
    "of": ("ADP", "prep"),
    "in": ("ADP", "prep"),
    "is": ("AUX", "ROOT"),
    "it": ("PRON", "nsubj"),
    "what": ("PRON", "attr"),
}


def spacy_config(model: Path | str) -> PhrasesConfig:
    return PhrasesConfig(method="spacy", model=str(model))


def test_without_spacy_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spacy", None)  # what Python itself keeps for a module that is not to be had
    with pytest.raises(ModelError) as refused:
        phrase_finder(spacy_config("en_core_web_sm"))
    assert str(refused.value) == (
        "phrases.method is 'spacy': spaCy is not installed. Run: pip install 'vzero-evidence[spacy]'"
    )


@pytest.fixture(scope="module")
def spacy() -> Any:
    return pytest.importorskip("spacy", exc_type=ImportError)


@pytest.fixture(scope="module")
def pipeline(spacy: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a pipeline whose parser knows determiners, prepositions and "is", and takes all other words for nouns."""

    def parse(doc: Any) -> Any:
        for token in doc:
            token.pos_, token.dep_ = HEADS.get(token.lower_, ("NOUN", "attr"))
            if token.is_punct or token.is_space:
                token.pos_, token.dep_ = "PUNCT", "punct"
            if token.lower_ in ("the", "a"):
                token.pos_, token.dep_ = "DET", "det"
        for token in doc[:-1]:
            after = doc[token.i + 1]
            if token.pos_ in ("DET", "NOUN") and after.pos_ == "NOUN":
                token.head, token.dep_ = after, {"DET": "det", "NOUN": "compound"}[token.pos_]
        return doc

    spacy.Language.component("tiny_parser", func=parse)
    language = spacy.blank("en")
    language.add_pipe("tiny_parser")
    folder = tmp_path_factory.mktemp("pipeline")
    language.to_disk(folder)
    return folder


def test_noun_chunks_become_phrases_where_they_stand(pipeline: Path) -> None:
    question = "what is the color of the fire hydrant in the image?\n(A) the red one"
    empty, (hydrant,), blank = phrase_finder(spacy_config(pipeline)).find(["", question, "what is it?"])
    assert (hydrant.text, hydrant.start, hydrant.rule) == ("the fire hydrant", 21, "noun_chunk")
    assert question[hydrant.start : hydrant.end] == hydrant.text
    assert (empty, blank) == ((), ())


def test_no_more_phrases_than_asked_for(pipeline: Path) -> None:
    one = PhrasesConfig(method="spacy", model=str(pipeline), max_phrases=1)
    ((dog,),) = phrase_finder(one).find(["is the dog in the house?"])
    assert dog.text == "the dog"


def test_a_pipeline_is_told_by_the_hash_of_all_its_files(pipeline: Path, spacy: Any, tmp_path: Path) -> None:
    ((name, before),) = phrase_finder(spacy_config(pipeline)).models.items()
    assert (name, len(before)) == (str(pipeline), 64)
    language = spacy.load(pipeline)
    language.meta["version"] = "9.9"
    language.to_disk(tmp_path / "other")
    assert list(phrase_finder(spacy_config(tmp_path / "other")).models.values()) != [before]


def test_a_pipeline_that_is_not_there_is_refused_in_one_line(spacy: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"not a spaCy pipeline here .*python -m spacy download") as refused:
        phrase_finder(spacy_config(tmp_path / "none"))
    assert "\n" not in str(refused.value)


def test_a_pipeline_without_a_parser_is_refused(spacy: Any, tmp_path: Path) -> None:
    spacy.blank("en").to_disk(tmp_path / "blank")
    with pytest.raises(ModelError, match=r"finds no noun chunks .*Give one with a parser\.$"):
        phrase_finder(spacy_config(tmp_path / "blank"))
