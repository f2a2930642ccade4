"""Read the questions of a recipe's [source] through a DuckDB query over the source's own files.
Leaves out: opening images (images.py), the other settings of a recipe (build/config.py).

The query runs inside the root folder, may only read, and reads nothing outside of it. Questions are put in order of
image and id, so that a build is repeatable without ORDER BY in its query."""

from __future__ import annotations

import contextlib
import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, get_args

import duckdb
from pydantic import ConfigDict

from viewgen.errors import RecipeError, database_fault
from viewgen.records import Annotation, Question, SourceBox
from viewgen.settings import STRICT
from viewgen.source import scans
from viewgen.source.box_formats import FIELDS, BoxBasis, BoxFormat, BoxUnits, is_pixels, rounded, source_fault
from viewgen.source.columns import DRAWN, Columns
from viewgen.source.formats import Form, Format, Mapped, mapped
from viewgen.source.values import (
    BoxFaultError,
    SourceFaultError,
    list_reader,
    picture_reader,
    read_boxes,
    refuse_list_type,
    refuse_picture_type,
    refuse_type,
    text_reader,
    value_reader,
)

if TYPE_CHECKING:
    Connection = duckdb.DuckDBPyConnection
    Statement = duckdb.Statement
else:  # beartype, which checks annotations while tests run, would keep DuckDB's classes alive beyond DuckDB's own end
    Connection = Statement = object

NEEDED = ("question_id", "image_path", "question")
IMAGE = "image"
"""Another name of image_path."""
OPTIONAL = ("answer", "kind", "split", "source", "options", "phrases", "boxes", "box_basis")
_LISTS = ("options", "phrases")
_MAY_BE_NULL = ("answer", "source", "options", "phrases", "boxes", "box_basis")
_BASES = get_args(BoxBasis)
_ROWS_AT_ONCE = 32
_TWICE = re.compile(r'duplicate column name "(.*?)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceConfig:
    """Source of questions and images."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    root: str
    """Folder of the source's files; relative to the recipe's own folder."""
    format: Format = "query"
    """Form of the source. query: whatever the query reads. csv, hf: a table with a question in each row (CSV, Parquet,
    JSON), by the usual names of columns. llava: conversations. visual-cot, coco. folder: images with a .json or .txt file
    of the same name beside each. `viewgen init` recognises it."""
    files: str = ""
    """Name of a file, or pattern of names, below the root, for every form but query: "data/train-*.parquet"."""
    images: str = ""
    """Folder below the root to which the paths of images are relative; empty for the root itself."""
    question: str = ""
    """Question of every image (folder) or of every category in an image (coco, {phrase} stands for its name), for sources
    without questions."""
    split: str = ""
    """Split of rows for which the source names none. Empty: train, or test for an evaluation set."""
    is_evaluation: bool = False
    """The source is a benchmark: training views are not made of it unless asked for."""
    query: str = ""
    """One DuckDB SELECT over files named relative to the root. Columns: question_id, question, and image_path or image (a
    path below the root, an address as for fetch, bytes, {bytes, path}, base64, or a list of one of these); optionally
    answer, kind, split, source (the data set), options and phrases (lists of text; phrases that the question lacks are
    allowed), box_basis, and boxes: a list of {phrase, x0, y0, x1, y1}, each with a score from 0 to 1 where the source has
    one: boxes of a phrase below its best are other things of that name."""
    box_format: BoxFormat = "xyxy"
    """Numbers of a box. xyxy: x0, y0, x1, y1, far edges outside. xywh: x, y, w, h. cxcywh: cx, cy, w, h, from the centre.
    A box has them under these names, or as a list of four under `box`."""
    box_units: BoxUnits = "unstated"
    """Units of the boxes. pixels. 0..1 and 0..1000: parts of the image's width and height. unstated: pixels, and the
    build is refused where boxes look like other units."""
    box_basis: BoxBasis = "upright"
    """Image that boxes refer to. upright: as it is shown. stored: as the file stores its pixels, before its EXIF
    orientation. The column box_basis decides for its rows."""
    fetch: bool = False
    """Fetch images whose path is an address: http, https, s3, gs, az, hf. They are kept in a cache (VIEWGEN_CACHE, else
    viewgen/images in the user's cache folder), and fetched once. The view set names them by their addresses as they
    stand, with whatever key is part of them."""
    follow_links: bool = False
    """Read images through links that lead out of the root. Files that the query names may always be such links, as in
    the cache of the Hugging Face hub."""

    @property
    def usual_split(self) -> str:
        """Split of rows for which the source names none."""
        return self.split or ("test" if self.is_evaluation else "train")


def read_questions(source: SourceConfig, recipe: Path) -> tuple[Question, ...]:
    """Read the questions of a source, ordered by image path and id.

    Raises RecipeError, one line that begins with the recipe's path: no such folder, a query that fails, reads outside
    the root or gives no rows, columns that are missing or unknown or have no text of their own, NULLs, ids that occur
    twice, or faulty boxes.

    source = SourceConfig(root="photos", query="SELECT question_id, image_path, question FROM 'questions.csv'")
    questions = read_questions(source, Path("recipe.toml"))
    """
    root = _folder_of(source, recipe)
    try:
        rows = _rows(query_of(source, root), root)
        _refuse_nulls(rows)
        _refuse_duplicates(rows)
        _refuse_drawn_boxes(rows)
        questions = _questions(rows, source)
    except SourceFaultError as error:
        raise RecipeError(f"{recipe}: {error}") from None
    return tuple(sorted(questions, key=lambda question: (question.image_path, question.question_id)))


def first_rows(source: SourceConfig, recipe: Path, num: int) -> list[dict[str, Any]]:
    """Return the first rows of a source, unchecked: text, lists of text, and boxes as they are given.

    Raises RecipeError for a root that is no folder, SourceFaultError for what cannot be read."""
    root = _folder_of(source, recipe)
    return _rows(f"SELECT * FROM ({query_of(source, root)}) LIMIT {num}", root)


def understood_at(source: SourceConfig, recipe: Path) -> Mapped:
    """Return the columns of a source in a usual form. Raises SourceFaultError."""
    return understood(source, root_of(source, recipe))


def query_of(source: SourceConfig, root: Path) -> str:
    """Return the query of a source: the recipe's, or the one that its format writes. Raises SourceFaultError."""
    if source.format == "query":
        if not source.query:
            raise SourceFaultError("source.query is missing. Write it, or set source.format to the form of the source.")
        return source.query
    if source.query:
        raise SourceFaultError(
            f'source.query is given beside source.format = "{source.format}". Leave one of them out.'
        )
    return understood(source, root).query


def understood(source: SourceConfig, root: Path) -> Mapped:
    """Return the columns of a source in a usual form. Raises SourceFaultError."""
    form = Form(
        format=source.format,
        files=source.files,
        images=source.images,
        question=source.question,
        split=source.usual_split,
    )
    return mapped(form, lambda select: _columns(select, root))


def _columns(select: str, root: Path) -> Columns:
    with _prepared(select, root) as (prepared, connection):
        return {str(name): kind for name, kind, *_ in prepared.columns(connection)}


def _folder_of(source: SourceConfig, recipe: Path) -> Path:
    root = root_of(source, recipe)
    if not root.is_dir():
        raise RecipeError(f"{recipe}: source.root is {str(root)!r}, and there is no such folder. Change it.")
    return root


def root_of(source: SourceConfig, recipe: Path) -> Path:
    """Return the source's folder, absolute. Raises RecipeError for text that is no path."""
    try:
        return (recipe.parent / source.root).resolve()
    except ValueError as error:  # a NUL character
        raise RecipeError(f"{recipe}: source.root is {source.root!r}, which is no path ({error}). Change it.") from None


def _rows(query: str, root: Path) -> list[dict[str, Any]]:
    """Run the query. Text columns are text then, lists tuples of text; boxes are as DuckDB gives them."""
    rows: list[dict[str, Any]] = []
    with _prepared(query, root) as (prepared, connection):
        columns = prepared.columns(connection)
        readers = _readers(columns)
        has_pictures = any("BLOB" in str(kind) for _, kind, *_ in columns)
        answer = prepared.stream(connection) if has_pictures else prepared.run(connection)
        while batch := answer.fetchmany(_ROWS_AT_ONCE):  # pictures of so many rows are in memory together
            rows += [{name: read(value) for (name, read), value in zip(readers, row, strict=True)} for row in batch]
    if not rows:
        raise SourceFaultError("source.query gave no rows. Run it in DuckDB to see why.")
    return rows


@contextlib.contextmanager
def _prepared(query: str, root: Path) -> Iterator[tuple[scans.Scans, Connection]]:
    """Yield a query over the files below the root, and a connection to run it. Raises SourceFaultError, also for what
    the block meets."""
    try:
        with duckdb.connect(config={"enable_external_access": False}) as parser:
            tree = scans.parse(parser, _one_select(parser, query))
        # DuckDB looks for relative names in the process's own folder first, so the root has to be that folder.
        with contextlib.chdir(root), open_reader(root, scans.linked_files(tree, root)) as connection:
            yield scans.prepare(connection, tree, root), connection
    except duckdb.PermissionException as error:
        raise SourceFaultError(f"source.query may only read below {str(root)!r}: {database_fault(error)}.") from None
    except duckdb.Error as error:
        if twice := _TWICE.search(str(error)):
            raise SourceFaultError(f"source.query gives the column {twice[1]!r} twice. Name each once.") from None
        raise SourceFaultError(f"source.query failed: {database_fault(error)}.{_advice(error)}") from None


def _advice(error: duckdb.Error) -> str:
    """Return the remedy where text was counted with."""
    if not isinstance(error, duckdb.BinderException) or "VARCHAR" not in str(error):
        return ""
    return " A column of a CSV file is text unless all its values are plain whole numbers: write CAST(NAME AS DOUBLE)."


def open_reader(root: Path, links: Sequence[str] = ()) -> Connection:
    """Open a DuckDB that can read below `root` alone, and through these links in it: no other file, no network, no Python
    variable."""
    connection = duckdb.connect(config={"python_enable_replacements": False, "autoload_known_extensions": False})
    connection.execute(f"SET allowed_directories = [{_literal(str(root))}]")
    connection.execute(f"SET allowed_paths = [{', '.join(_literal(str(root / link)) for link in links)}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET allowed_configs = ['threads']")
    connection.execute("SET lock_configuration = true")
    return connection


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _readers(columns: Sequence[Any]) -> list[tuple[str, Callable[[Any], Any]]]:
    """Return name and reader of each column. Raises SourceFaultError for a name or type that is wrong."""
    _refuse_columns([str(name) for name, *_ in columns])
    readers: list[tuple[str, Callable[[Any], Any]]] = []
    for name, kind, *_ in columns:
        if name in {IMAGE, "image_path"}:
            refuse_picture_type(name, kind)
            readers.append(("image_path", picture_reader(name, kind)))
        elif name == "boxes":
            readers.append((name, value_reader(kind)))
        elif name in _LISTS:
            refuse_list_type(name, kind)
            readers.append((name, list_reader(name, kind)))
        else:
            refuse_type(name, kind)
            readers.append((name, text_reader(name, kind)))
    return readers


def _one_select(connection: Connection, query: str) -> str:
    statements = connection.extract_statements(query)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        kinds = ", ".join(statement.type.name for statement in statements) or "nothing"
        raise SourceFaultError(f"source.query holds {kinds}: expected one SELECT. Change it.")
    return str(statements[0].query)


def _refuse_columns(columns: Sequence[str]) -> None:
    """Refuse missing and unknown columns: a misspelt optional column would be ignored in silence."""
    if IMAGE in columns and "image_path" in columns:
        raise SourceFaultError("source.query gives both 'image' and 'image_path'. Leave one of them out.")
    lacking = [name for name in NEEDED if name not in columns and not (name == "image_path" and IMAGE in columns)]
    if lacking:
        raise SourceFaultError(f"source.query gives no column {lacking[0]!r}, only {', '.join(columns)}. Add it.")
    known = [*NEEDED, IMAGE, *OPTIONAL]
    for name in columns:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(known)}."
            raise SourceFaultError(f"source.query gives an unknown column {name!r}. {hint}")


def _refuse_nulls(rows: Sequence[Mapping[str, Any]]) -> None:
    for name in rows[0]:
        num = sum(row[name] is None for row in rows) if name not in _MAY_BE_NULL else 0
        if num:
            some = f"NULL in {num:,} of {len(rows):,} rows"
            raise SourceFaultError(f"column {name!r} is {some}. Leave them out with WHERE, or use coalesce().")


def _refuse_duplicates(rows: Sequence[Mapping[str, Any]]) -> None:
    name, num = Counter(row["question_id"] for row in rows).most_common(1)[0]
    if num > 1:
        raise SourceFaultError(f"question_id {name!r} stands in {num} rows. Give every question its own.")


def _refuse_drawn_boxes(rows: Sequence[Mapping[str, Any]]) -> None:
    """Refuse images that have the evidence drawn into them, by what their questions say: such a picture tells student and
    audit alike where to look."""
    num = sum(DRAWN.search(row["question"]) is not None for row in rows)
    if num:
        what = f"{num:,} of {len(rows):,} questions speak of a box that is drawn into the image"
        remedy = "Give the images without boxes, and take the sentence out with regexp_replace()"
        raise SourceFaultError(f"{what}. {remedy}.")


def _questions(rows: Sequence[Mapping[str, Any]], source: SourceConfig) -> list[Question]:
    boxes = [_boxes(row, source) for row in rows]
    if fault := source_fault([(row["question_id"], found) for row, found in zip(rows, boxes, strict=True)]):
        raise SourceFaultError(fault)
    return [_question(row, found, source) for row, found in zip(rows, boxes, strict=True)]


def _question(row: Mapping[str, Any], boxes: Sequence[SourceBox], source: SourceConfig) -> Question:
    basis = row.get("box_basis") or source.box_basis
    if basis not in _BASES:
        where = f"box_basis of question {row['question_id']!r}"
        raise SourceFaultError(f"{where} is {basis!r}: expected {' or '.join(_BASES)}. Change the query.")
    placed = bool(boxes) and all(is_pixels(box, basis) for box in boxes)
    return Question(
        question_id=row["question_id"],
        image_path=row["image_path"],
        text=row["question"],
        answer=row.get("answer"),
        kind=row.get("kind", ""),
        split=row.get("split", source.usual_split),
        source=row.get("source") or "",
        options=row.get("options") or (),
        phrases=row.get("phrases") or None,
        box_basis=basis,
        annotations=tuple(map(_annotation, boxes)) if placed else (),
        source_boxes=() if placed else tuple(boxes),
    )


def _annotation(box: SourceBox) -> Annotation:
    return Annotation(phrase=box.phrase, box=rounded(box.corners), score=box.score)


def _boxes(row: Mapping[str, Any], source: SourceConfig) -> tuple[SourceBox, ...]:
    try:
        return read_boxes(row.get("boxes"), source.box_format, source.box_units)
    except BoxFaultError as error:
        where = f"boxes of question {row['question_id']!r}"
        expected = f"expected a list of {{phrase, {', '.join(FIELDS[source.box_format])}}}"
        raise SourceFaultError(f"{where}: {error}; {expected}. Change the query.") from None
