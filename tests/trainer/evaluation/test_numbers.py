"""Numbers in digits and in words."""

from decimal import Decimal

import pytest

from trainer.evaluation.numbers import read_number


@pytest.mark.fault(32)
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("twenty-one", "21"),
        ("twenty one birds", "21"),
        ("two hundred", "200"),
        ("two hundred and five", "205"),
        ("a hundred", "100"),
        ("sixteen hundred", "1600"),
        ("one thousand two hundred", "1200"),
        ("a thousand and one", "1001"),
        ("five hundred thousand", "500000"),
        ("minus three", "-3"),
        ("one or two", "2"),
        ("ten, eleven", "11"),
        (".5", "0.5"),
        ("-.5", "-0.5"),
        ("1.5.", "1.5"),
        ("-1,200.5", "-1200.5"),
        ("v1.5", "1.5"),
        ("forty-two, that is 43", "43"),
    ],
)
def test_the_last_number_is_read(text: str, value: str) -> None:
    assert read_number(text) == Decimal(value)


@pytest.mark.fault(32)
@pytest.mark.parametrize("text", ["", "none", "someone", "often", "a", "and", "hundreds", "."])
def test_words_that_only_look_like_numbers_are_none(text: str) -> None:
    assert read_number(text) is None
