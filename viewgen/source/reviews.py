"""Read reviews: the verdicts of people on questions and their views, as the report's page saves them.
A CSV file with the columns question_id, verdict (accept or reject) and, optionally, note.
Leaves out: the page (report/page.py), applying the reviews (build/stages.py). A rejected question leaves the build with
stage `review`; an accepted one stays although the audit would reject it, but no other stage is overruled."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from viewgen.errors import ReviewsError

STAGE, REASON = "review", "reviewed"
"""Stage and reason of a question that a reviewer rejected."""
VERDICTS = ("accept", "reject")
NEEDED, OPTIONAL = ("question_id", "verdict"), ("note",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """A person's verdict on one question."""

    verdict: str
    """accept or reject."""
    note: str = ""
    """Reason in the reviewer's words; may be empty."""

    @property
    def is_reject(self) -> bool:
        """True for the verdict `reject`."""
        return self.verdict == "reject"

    @property
    def message(self) -> str:
        """Message of the rejection."""
        return f"a reviewer rejected it: {self.note}" if self.note else "a reviewer rejected it"


def read_reviews(path: Path) -> Mapping[str, Review]:
    """Read the reviews, by question_id in the order of the file. Notes of lines that agree are joined.

    Raises ReviewsError, one line that names file and line: unknown columns, a wrong number of fields, an unknown verdict,
    or two verdicts on one question.

    read_reviews(Path("reviews.csv"))["q17"].verdict    # "reject"
    """
    found: dict[str, Review] = {}
    first_line: dict[str, int] = {}
    for line, question_id, new in _verdicts(path):
        old = found.get(question_id)
        if old and old.verdict != new.verdict:
            both = f"{old.verdict} in line {first_line[question_id]}, {new.verdict} in line {line}"
            raise ReviewsError(f"{path}: question {question_id!r} has two verdicts: {both}. Keep one of them.")
        notes = [verdict.note for verdict in (old, new) if verdict and verdict.note]
        found[question_id] = Review(verdict=new.verdict, note="; ".join(dict.fromkeys(notes)))
        first_line.setdefault(question_id, line)
    return found


def _verdicts(path: Path) -> Iterator[tuple[int, str, Review]]:
    """Yield line number, question_id and review of every row."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:  # spreadsheets write a byte order mark
            rows = csv.reader(file, strict=True)
            names = next(rows, [])
            _refuse_columns(names, path)
            for row in rows:
                if row:
                    yield rows.line_num, *_verdict(dict(_fields(names, row, path, rows.line_num)), path, rows.line_num)
    except FileNotFoundError:
        raise ReviewsError(f"{path}: there is no such file. Download one from the page of `viewgen report`.") from None
    except UnicodeDecodeError as error:
        raise ReviewsError(f"{path}: is not UTF-8 ({error.reason}). Save it as CSV in UTF-8.") from None
    except csv.Error as error:
        raise ReviewsError(f"{path}: is no CSV: {error}. Save it as CSV with quotes doubled inside quotes.") from None
    except OSError as error:
        raise ReviewsError(f"{path}: cannot be read ({error.strerror}). Give a CSV file.") from None


def _refuse_columns(names: list[str], path: Path) -> None:
    known = (*NEEDED, *OPTIONAL)
    for name in NEEDED:
        if name not in names:
            found = ", ".join(map(repr, names)) or "nothing"
            raise ReviewsError(f"{path}: line 1 has no column {name!r}, only {found}. Expected: {','.join(known)}.")
    for name in names:
        if name not in known or names.count(name) > 1:
            what = "an unknown column" if name not in known else "twice the column"
            raise ReviewsError(f"{path}: line 1 has {what} {name!r}. Expected: {','.join(known)}.")


def _fields(names: list[str], row: list[str], path: Path, line: int) -> Iterator[tuple[str, str]]:
    if len(row) != len(names):
        raise ReviewsError(
            f"{path}: line {line} has {len(row)} fields, expected {len(names)}. Quote what holds a comma."
        )
    return zip(names, row, strict=True)


def _verdict(fields: Mapping[str, str], path: Path, line: int) -> tuple[str, Review]:
    if not fields["question_id"]:
        raise ReviewsError(f"{path}: line {line} has no question_id. Add it or remove the line.")
    if fields["verdict"] not in VERDICTS:
        expected = " or ".join(VERDICTS)
        raise ReviewsError(
            f"{path}: line {line} has the verdict {fields['verdict']!r}: expected {expected}. Change it."
        )
    return _unguarded(fields["question_id"]), Review(verdict=fields["verdict"], note=_unguarded(fields.get("note", "")))


def _unguarded(text: str) -> str:
    """Take off the apostrophe that the page sets before what a spreadsheet would run as a formula."""
    return text[1:] if text[:1] == "'" and text[1:2] in {*"'=+-@\t\r"} and text[1:2] else text
