"""Verdicts from a CSV file: what is read, and what is refused in one line that names file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from viewgen.errors import ReviewsError
from viewgen.source.reviews import Review, read_reviews


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "reviews.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_verdict_keeps_its_note_and_ids_may_hold_commas_quotes_and_line_ends(tmp_path: Path) -> None:
    text = 'question_id,verdict,note\r\nq1,accept,\r\n"a ""b"", c\nd",reject,"blurred, twice"\r\n'
    reviews = read_reviews(written(tmp_path, text))
    assert reviews == {
        "q1": Review(verdict="accept", note=""),
        'a "b", c\nd': Review(verdict="reject", note="blurred, twice"),
    }
    assert [verdict.is_reject for verdict in reviews.values()] == [False, True]
    assert [verdict.message for verdict in reviews.values()] == [
        "a reviewer rejected it",
        "a reviewer rejected it: blurred, twice",
    ]


def test_columns_stand_in_any_order_and_notes_may_be_left_out(tmp_path: Path) -> None:
    assert read_reviews(written(tmp_path, "verdict,question_id\naccept,q1\n\n")) == {"q1": Review(verdict="accept")}


def test_a_byte_order_mark_of_a_spreadsheet_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    assert "q1" in read_reviews(written(tmp_path, b"\xef\xbb\xbfquestion_id,verdict\nq1,reject\n"))


def test_lines_that_agree_are_one_verdict_with_their_notes_joined(tmp_path: Path) -> None:
    text = "question_id,verdict,note\nq1,reject,dark\nq1,reject,dark\nq1,reject,small\nq1,reject,\n"
    assert read_reviews(written(tmp_path, text)) == {"q1": Review(verdict="reject", note="dark; small")}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("question_id,note\nq1,x\n", "line 1 has no column 'verdict', only 'question_id', 'note'."),
        ("", "line 1 has no column 'question_id', only nothing. Expected: question_id,verdict,note."),
        ("question_id;verdict\nq1;accept\n", "line 1 has no column 'question_id', only 'question_id;verdict'."),
        ("question_id,verdict,notes\n", "line 1 has an unknown column 'notes'. Expected: question_id,verdict,note."),
        ("question_id,verdict,verdict\n", "line 1 has twice the column 'verdict'."),
        ("question_id,verdict\nq1,accept\nq2,maybe\n", "line 3 has the verdict 'maybe': expected accept or reject."),
        ("question_id,verdict\n,accept\n", "line 2 has no question_id. Add it or remove the line."),
        ("question_id,verdict\na,b,accept\n", "line 2 has 3 fields, expected 2. Quote what holds a comma."),
        (
            "question_id,verdict\nq1,accept\nq2,accept\nq1,reject\n",
            "question 'q1' has two verdicts: accept in line 2, reject in line 4. Keep one of them.",
        ),
        ('question_id,verdict\n"q1"x,accept\n', "is no CSV: "),
        (b"question_id,verdict\n\xff\xfe,accept\n", "is not UTF-8 "),
    ],
)
def test_a_file_that_is_not_clear_is_refused_in_one_line(tmp_path: Path, text: str | bytes, said: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ReviewsError) as refusal:
        read_reviews(path)
    assert str(refusal.value).startswith(f"{path}: {said}")
    assert "\n" not in str(refusal.value)


def test_a_file_that_is_missing_or_no_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReviewsError, match=r"gone\.csv: there is no such file\. Download one from the page"):
        read_reviews(tmp_path / "gone.csv")
    with pytest.raises(ReviewsError, match=r"cannot be read \(Is a directory\)"):
        read_reviews(tmp_path)
