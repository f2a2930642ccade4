"""Tell which column of a source is the question, the image, the answer, by its name and type, and write the SQL that
gives it. Pure: nothing is guessed from values.
Leaves out: forms of a source (formats.py), running queries (recipe.py)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from viewgen.source.values import SourceFaultError

Columns = Mapping[str, Any]
"""Name of a column -> its DuckDB type."""

NAMES: Mapping[str, tuple[str, ...]] = {
    "question_id": ("question_id", "qid", "id", "uid", "sample_id", "doc_id", "index", "idx"),
    "image": (
        *("image_path", "image", "images", "img_path", "img", "image_url", "url", "file_name", "filename", "file"),
        *("picture", "path", "bytes"),
    ),
    "question": ("question", "query", "problem", "prompt", "instruction", "text"),
    "answer": ("answer", "solution", "response", "ground_truth", "gt", "correct_option", "label"),
    "options": ("options", "choices", "multi_choice_options", "candidates"),
    "kind": ("kind", "category", "question_type", "type", "task"),
    "split": ("split", "subset"),
    "source": ("source", "dataset", "data_source", "image_source"),
    "phrases": ("phrases", "target_object", "target_objects"),
    "boxes": ("boxes", "bbox", "bboxes", "bboxs", "box"),
}
"""Column of viewgen's -> names that sources give it, in this order, in any case and with any of " -_" between words."""
EVIDENCE = "evidence"
"""Phrase of a box that the source gives no name."""
MARKER = r"<(?:image|crop|video|audio)>"
"""Text that loaders take for the place of a picture."""
DRAWN = re.compile(r"\b(?:inside|within|in) the \w+ bounding box(?:es)?\b", re.IGNORECASE)
"""Words about a box that is drawn into the image."""
HINT = r"\s*Please provide the bounding box coordinate of the region that can help you answer the question better\."
"""Sentence of Visual-CoT's questions that asks for something else."""
LABEL = r"^\s*\(?[A-Za-z][.):]\s*"
"""What stands before an option."""
IMAGE_FILES = r"\.(jpe?g|png|webp|gif|bmp|tiff?|avif|heic)$"


@dataclass(frozen=True, slots=True, kw_only=True)
class FormField:
    """A column that viewgen knows, and what gives it."""

    name: str
    sql: str
    origin: str
    """Columns of the source, or words on what else it is made of."""


def reader_of(files: str) -> str:
    name = PurePosixPath(files).name.lower().removesuffix(".gz").removesuffix(".zst")
    kinds = {"csv": "csv", "tsv": "csv", "parquet": "parquet", "json": "json", "jsonl": "json", "ndjson": "json"}
    if kind := kinds.get(name.rpartition(".")[2]):
        return kind
    raise SourceFaultError(f"source.files is {files!r}: expected .csv, .tsv, .parquet, .json or .jsonl. Change it.")


def named(columns: Columns, names: Sequence[str]) -> str:
    """Return the first column with one of the names; empty without one."""
    plain = {re.sub(r"[ \-]", "_", column).lower(): column for column in columns}
    return next((plain[name] for name in names if name in plain), "")


def lettered(columns: Columns) -> tuple[str, ...]:
    """Return the columns A, B, C, ... of a multiple-choice table, from A on without a gap; empty for fewer than two."""
    found = []
    for letter in "ABCDEFGHI":
        if letter not in columns:
            break
        found.append(letter)
    return tuple(found) if len(found) > 1 else ()


def question_field(column: str, letters: Sequence[str]) -> FormField:
    sql, origin = cleaned(quoted(column)), column
    if letters:  # whoever answers must see the choices
        labelled = f"list_transform({listed(letters)}, lambda o, i: chr(64 + CAST(i AS INT)) || '. ' || o)"
        sql = f"{sql} || chr(10) || array_to_string({labelled}, chr(10))"
        origin += f" and {letters[0]} to {letters[-1]}"
    return FormField(name="question", sql=sql, origin=origin)


def split_field(column: str, columns: Columns, otherwise: str = "") -> list[FormField]:
    """Return what gives the split: a column, else the names of files and, where they name none, `otherwise`; nothing
    without either."""
    if column:
        return [FormField(name="split", sql=as_text(column, columns), origin=column)]
    names = r"'(?:^|[/_.-])(train|test|validation|val|dev|selection)(?:[/_.-]|$)'"
    sql = f"coalesce(nullif(regexp_extract(filename, {names}, 1), ''), {literal(otherwise)})"
    return [FormField(name="split", sql=sql, origin="names of files")] if otherwise else []


def phrases_and_boxes(found: Mapping[str, str], columns: Columns) -> list[FormField]:
    fields, phrases = [], found["phrases"]
    has_names = bool(phrases) and columns[phrases].id in {"list", "array"}
    if has_names:
        fields.append(FormField(name="phrases", sql=quoted(phrases), origin=phrases))
    if not (boxes := found["boxes"]):
        return fields
    kind, sql = str(columns[boxes]), quoted(boxes)
    if "STRUCT" in kind:
        fields.append(FormField(name="boxes", sql=sql, origin=boxes))
    elif kind.endswith("[][]"):
        named = f"lambda b, i: {{phrase: coalesce({quoted(phrases)}[i], '{EVIDENCE}'), box: b}}"
        plain = f"lambda b: {{phrase: '{EVIDENCE}', box: b}}"
        sql = f"list_transform({sql}, {named if has_names else plain})"
        fields.append(FormField(name="boxes", sql=sql, origin=f"{boxes}, {phrases}" if has_names else boxes))
    elif kind.endswith("[]"):
        sql = f"CASE WHEN len({sql}) = 4 THEN [{{phrase: '{EVIDENCE}', box: {sql}}}] END"
        fields.append(FormField(name="boxes", sql=sql, origin=boxes))
    return fields


def as_text(column: str, columns: Columns) -> str:
    """Return a column as text, also where its type has none of its own."""
    kind = columns[column].id
    return f"CAST({quoted(column)} AS VARCHAR)" if kind in {"boolean", "float", "double"} else quoted(column)


def below(images: str, sql: str) -> str:
    return f"{literal(images.rstrip('/') + '/')} || {sql}" if images else sql


def listed(letters: Sequence[str]) -> str:
    return f"list_filter([{', '.join(map(quoted, letters))}], lambda o: o <> '')"


def cleaned(sql: str) -> str:
    """Return a question without markers of pictures, and without Visual-CoT's request for a box."""
    sql = f"regexp_replace({sql}, {literal(HINT)}, '', 'g')"
    marked = literal(rf"\s*{MARKER}\s*")
    return f"trim(regexp_replace({sql}, {marked}, ' ', 'g'), ' ' || chr(10))"


def quoted(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
