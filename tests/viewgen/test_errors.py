"""Every error that a user can cause is a ViewgenError, so that the command line prints it alone."""

from __future__ import annotations

import inspect

import pytest

from viewgen import errors


def test_every_error_is_a_viewgen_error_that_says_what_it_is_for() -> None:
    classes = [thing for _, thing in inspect.getmembers(errors, inspect.isclass) if thing.__module__ == errors.__name__]
    assert len(classes) > 5
    for one in classes:
        assert issubclass(one, errors.ViewgenError)
        assert one.__doc__


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("No file.\nTry again with internet.", "No file"),
        ("v1.5 of a.pth is bad (see https://x.y/z) now", "v1.5 of a.pth is bad now"),
        ("Weights only load failed. Set `weights_only` to False.", "Weights only load failed"),
        ("", "ValueError"),
    ],
)
def test_a_library_s_first_sentence_is_told_and_not_its_advice(message: str, text: str) -> None:
    assert errors.brief(ValueError(message)) == text
    assert len(errors.brief(ValueError("x" * 999))) == 200
