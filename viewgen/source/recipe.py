"""Read the questions of a recipe's [source] through a DuckDB query over the source's own files.
Leaves out: opening images (images.py), the other settings of a recipe (build/config.py).

The query runs inside the root folder, may only read, and reads nothing outside of it. Questions are put in order of
image and id, so that a build is repeatable without ORDER BY in its query."""

from __future__ import annotations

import contextlib
import difflib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import duckdb
from pydantic import ConfigDict

from viewgen.boxes import Box
from viewgen.errors import RecipeError
from viewgen.records import Annotation, Question
from viewgen.settings import STRICT

if TYPE_CHECKING:
    Connection = duckdb.DuckDBPyConnection
    Statement = duckdb.Statement
else:  # beartype, which checks annotations while tests run, would keep DuckDB's classes alive beyond DuckDB's own end
    Connection = Statement = object

NEEDED = ("question_id", "image_path", "question")
OPTIONAL = ("answer", "kind", "split", "boxes")
_MAY_BE_NULL = ("answer", "boxes")
_CORNERS = ("x0", "y0", "x1", "y1")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceConfig:
    """Source of questions and images."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    root: str
    """Folder of the source's files; relative to the recipe's own folder."""
    query: str
    """One DuckDB SELECT over files named relative to the root. Columns: question_id, image_path (below the root),
    question; optionally answer, kind, split, and boxes: a list of {phrase, x0, y0, x1, y1}, pixels, image upright, each
    with a score from 0 to 1 where the source has one: boxes of a phrase below its best are other things of that name."""


def read_questions(source: SourceConfig, recipe: Path) -> tuple[Question, ...]:
    """Read the questions of a source, ordered by image path and id.

    Raises RecipeError, one line that begins with the recipe's path: no such folder, a query that fails, reads outside
    the root or gives no rows, columns that are missing or unknown, NULLs, ids that occur twice, or faulty boxes.

    source = SourceConfig(root="photos", query="SELECT question_id, image_path, question FROM 'questions.csv'")
    questions = read_questions(source, Path("recipe.toml"))
    """
    root = root_of(source, recipe)
    if not root.is_dir():
        raise RecipeError(f"{recipe}: source.root is {str(root)!r}, and there is no such folder. Change it.")
    rows = _rows(source.query, root, recipe)
    if not rows:
        raise RecipeError(f"{recipe}: source.query gave no rows. Run it in DuckDB to see why.")
    _refuse_nulls(rows, recipe)
    _refuse_duplicates(rows, recipe)
    questions = (_question(row, recipe) for row in rows)
    return tuple(sorted(questions, key=lambda question: (question.image_path, question.question_id)))


def root_of(source: SourceConfig, recipe: Path) -> Path:
    """Return the source's folder, absolute. Raises RecipeError for text that is no path."""
    try:
        return (recipe.parent / source.root).resolve()
    except ValueError as error:  # a NUL character
        raise RecipeError(f"{recipe}: source.root is {source.root!r}, which is no path ({error}). Change it.") from None


def _rows(query: str, root: Path, recipe: Path) -> list[dict[str, Any]]:
    """Run the query. Boxes keep their type, all other columns become text."""
    try:
        # DuckDB looks for relative names in the process's own folder first, so the root has to be that folder.
        with contextlib.chdir(root), open_reader(root) as connection:
            answer = connection.execute(_one_select(connection, query, recipe))
            names = [column[0] for column in answer.description]
            _refuse_columns(names, recipe)
            return [_row(names, values) for values in answer.fetchall()]
    except duckdb.PermissionException as error:
        raise RecipeError(f"{recipe}: source.query may only read below {str(root)!r}: {_one_line(error)}.") from None
    except duckdb.Error as error:
        raise RecipeError(f"{recipe}: source.query failed: {_one_line(error)}.") from None


def open_reader(root: Path) -> Connection:
    """Open a DuckDB that can read below `root` alone: no other file, no network, no Python variable."""
    connection = duckdb.connect(config={"python_enable_replacements": False, "autoload_known_extensions": False})
    connection.execute(f"SET allowed_directories = ['{str(root).replace(chr(39), chr(39) * 2)}']")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def _row(names: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    return {
        name: value if name == "boxes" or value is None else str(value)
        for name, value in zip(names, values, strict=True)
    }


def _one_select(connection: Connection, query: str, recipe: Path) -> Statement:
    statements = connection.extract_statements(query)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        kinds = ", ".join(statement.type.name for statement in statements) or "nothing"
        raise RecipeError(f"{recipe}: source.query holds {kinds}: expected one SELECT. Change it.")
    return statements[0]


def _refuse_columns(columns: Sequence[str], recipe: Path) -> None:
    """Refuse missing, unknown and repeated columns: a misspelt optional column would be ignored in silence."""
    lacking = [name for name in NEEDED if name not in columns]
    if lacking:
        raise RecipeError(f"{recipe}: source.query gives no column {lacking[0]!r}, only {', '.join(columns)}. Add it.")
    known = [*NEEDED, *OPTIONAL]
    for name in columns:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(known)}."
            raise RecipeError(f"{recipe}: source.query gives an unknown column {name!r}. {hint}")
    twice = [name for name, num in Counter(columns).items() if num > 1]
    if twice:
        raise RecipeError(f"{recipe}: source.query gives the column {twice[0]!r} twice. Name each once.")


def _refuse_nulls(rows: Sequence[Mapping[str, Any]], recipe: Path) -> None:
    for name in rows[0]:
        num = sum(row[name] is None for row in rows) if name not in _MAY_BE_NULL else 0
        if num:
            some = f"NULL in {num:,} of {len(rows):,} rows"
            raise RecipeError(f"{recipe}: column {name!r} is {some}. Leave them out with WHERE, or use coalesce().")


def _refuse_duplicates(rows: Sequence[Mapping[str, Any]], recipe: Path) -> None:
    name, num = Counter(row["question_id"] for row in rows).most_common(1)[0]
    if num > 1:
        raise RecipeError(f"{recipe}: question_id {name!r} stands in {num} rows. Give every question its own.")


def _question(row: Mapping[str, Any], recipe: Path) -> Question:
    return Question(
        question_id=row["question_id"],
        image_path=row["image_path"],
        text=row["question"],
        answer=row.get("answer"),
        kind=row.get("kind", ""),
        split=row.get("split", "train"),
        annotations=_annotations(row, recipe),
    )


def _annotations(row: Mapping[str, Any], recipe: Path) -> tuple[Annotation, ...]:
    try:
        return tuple(
            Annotation(
                phrase=str(box["phrase"]),
                box=_box(*(float(box[corner]) for corner in _CORNERS)),
                score=_score(box.get("score")),
            )
            for box in row.get("boxes") or ()
        )
    except (TypeError, KeyError, ValueError, OverflowError) as error:
        where = f"boxes of question {row['question_id']!r}"
        expected = "expected a list of {phrase, x0, y0, x1, y1} with x0 < x1 and y0 < y1"
        raise RecipeError(f"{recipe}: {where}: {_one_line(error)}; {expected}. Change the query.") from None


def _box(x0: float, y0: float, x1: float, y1: float) -> Box:
    """Round outwards, so that parts of pixels count as whole ones."""
    return Box(math.floor(x0), math.floor(y0), math.ceil(x1), math.ceil(y1))


def _score(given: Any) -> float:  # noqa: ANN401 - whatever the query gives, Decimal too
    score = 1.0 if given is None else float(given)
    if not 0 <= score <= 1:
        raise ValueError(f"score is {score:g}, not from 0 to 1")
    return score


def _one_line(error: Exception) -> str:
    """Return the message without DuckDB's drawing of the place in the query."""
    return " ".join(str(error).split("\n\nLINE")[0].split()).removesuffix(".")
