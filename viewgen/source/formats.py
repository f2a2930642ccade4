"""Write the query of a source in a usual form, as a user would: which column is the question, the image, the answer.
Leaves out: running the query (recipe.py), recognising a form (first_look.py).

A form takes the names and types of a source's columns, and gives one SQL expression for each column that viewgen knows.
What it cannot tell is refused with the columns that are there: nothing is guessed from values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

from viewgen.source.columns import (
    EVIDENCE,
    IMAGE_FILES,
    LABEL,
    NAMES,
    Columns,
    FormField,
    as_text,
    below,
    cleaned,
    lettered,
    listed,
    literal,
    named,
    phrases_and_boxes,
    question_field,
    quoted,
    reader_of,
    split_field,
)
from viewgen.source.values import SourceFaultError

Format = Literal["query", "csv", "llava", "hf", "visual-cot", "coco", "folder"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What a recipe says of a source in a usual form."""

    format: Format
    files: str
    """Name of a file, or pattern of names, below the root."""
    images: str = ""
    """Folder below the root to which paths of images are relative; empty for the root."""
    question: str = ""
    """Question of every image or category, for forms without questions; {phrase} stands for the category."""
    split: str = "train"
    """Split of rows for which the source names none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped:
    """A source whose columns are understood."""

    fields: tuple[FormField, ...]
    table: str
    """What stands behind FROM."""
    where: str = ""

    @property
    def query(self) -> str:
        """Return the query, one column to a line."""
        columns = ",\n       ".join(f"{field.sql} AS {field.name}" for field in self.fields)
        return f"SELECT {columns}\nFROM {self.table}" + (f"\nWHERE {self.where}" if self.where else "")


Describe = Callable[[str], Columns]
"""Names and types of the columns of a SELECT."""


def mapped(form: Form, describe: Describe) -> Mapped:
    """Return the columns of a source in a usual form. Raises SourceFaultError for one that lacks what the form needs.

    mapped(Form(format="csv", files="questions.csv"), describe).query    # "SELECT id AS question_id, ..."
    """
    if not form.files and form.format != "folder":
        raise SourceFaultError(f'source.format = "{form.format}" needs source.files, the name of a file or a pattern.')
    return _FORMS[form.format](form, describe)


def flat(form: Form, describe: Describe) -> Mapped:
    """Map a table with a question in each row: CSV, Parquet or JSON, by the names of its columns."""
    read = f"read_{reader_of(form.files)}({literal(form.files)}"
    columns, table = describe(f"SELECT * FROM {read})"), f"{read})"
    names_file = not named(columns, ("filename", "split", "subset"))
    if names_file:
        table = f"{read}, filename = true)"
    found = {name: named(columns, names) for name, names in NAMES.items()}
    for name in ("image", "question"):
        if not found[name]:
            raise SourceFaultError(_lacking(form, name, columns))
    letters = lettered(columns)
    fields = [
        _id_field(found["question_id"], form),
        _image_field(found["image"], columns, form),
        question_field(found["question"], letters),
    ]
    if letters:
        fields.append(FormField(name="options", sql=listed(letters), origin=", ".join(letters)))
    elif found["options"] and columns[found["options"]].id in {"list", "array"}:
        sql = f"list_transform({quoted(found['options'])}, lambda o: regexp_replace(o, {literal(LABEL)}, ''))"
        fields.append(FormField(name="options", sql=sql, origin=found["options"]))
    for name in ("answer", "kind", "source"):
        if found[name] and columns[found[name]].id not in {"list", "array", "struct"}:
            fields.append(FormField(name=name, sql=as_text(found[name], columns), origin=found[name]))
    fields += split_field(found["split"], columns, form.split if names_file else "")
    fields += phrases_and_boxes(found, columns)
    return Mapped(fields=tuple(fields), table=table)


def llava(form: Form, describe: Describe) -> Mapped:
    """Map conversations (LLaVA's `conversations` of from and value, or `messages` of role and content): one question for
    each turn of a person, with the turn after it as its answer."""
    read = f"read_{reader_of(form.files)}({literal(form.files)})"
    columns = describe(f"SELECT * FROM {read}")
    turns = named(columns, ("conversations", "messages", "conversation"))
    image = named(columns, NAMES["image"])
    if not turns or not image:
        raise SourceFaultError(_lacking(form, "conversations" if not turns else "image", columns))
    content = "content" if "content" in str(columns[turns]) else "value"
    identity = named(columns, NAMES["question_id"])
    number = "row_number() OVER ()"
    said = f"CAST({quoted(identity)} AS VARCHAR)" if identity else number
    table = (
        f"(SELECT {said} AS __id, {number} AS __row, {quoted(image)} AS __image,\n"
        f"      list_filter({quoted(turns)}, lambda t: {_is_turn(columns[turns])}) AS __turns FROM {read})\n"
        "CROSS JOIN LATERAL (SELECT unnest(generate_series(1, len(__turns), 2)) AS __turn)"
    )
    last = "CASE WHEN len(__turns) > 2 THEN '-' || (__turn + 1) // 2 ELSE '' END"
    fields = (
        FormField(name="question_id", sql=f"__id || {last}", origin=identity or "its row"),
        FormField(name="image", sql=_image_sql("__image", columns[image], form), origin=image),
        FormField(name="question", sql=cleaned(f"__turns[__turn].{content}"), origin=f"{turns}, turns of the person"),
        FormField(name="answer", sql=f"__turns[__turn + 1].{content}", origin=f"{turns}, turns of the model"),
    )
    return Mapped(fields=fields, table=table, where="__image IS NOT NULL")


def visual_cot(form: Form, describe: Describe) -> Mapped:
    """Map Visual-CoT, either form (arXiv 2403.16999): several boxes of a question are one evidence, their hull."""
    read = f"read_{reader_of(form.files)}({literal(form.files)})"
    columns = describe(f"SELECT * FROM {read}")
    if "conversations" in columns:
        return _visual_cot_turns(form, read)
    if lacking := [name for name in ("question", "answer", "bboxs", "image", "dataset") if name not in columns]:
        raise SourceFaultError(_lacking(form, lacking[0], columns))
    hull = ", ".join(
        f"list_{side}(list_transform(bboxs, lambda b: b[{place}]))"
        for place, side in ((1, "min"), (2, "min"), (3, "max"), (4, "max"))
    )
    fields = (
        FormField(name="question_id", sql="dataset || '-' || row_number() OVER ()", origin="dataset and row"),
        FormField(name="image", sql=below(form.images, f"{_cot_folder('dataset')} || image"), origin="dataset, image"),
        FormField(name="question", sql=cleaned("question"), origin="question"),
        FormField(name="answer", sql="answer", origin="answer"),
        *split_field("split" if "split" in columns else "", columns),
        FormField(name="source", sql="dataset", origin="dataset"),
        FormField(name="boxes", sql=f"[{{phrase: '{EVIDENCE}', box: [{hull}]}}]", origin="the hull of bboxs"),
    )
    return Mapped(fields=fields, table=read, where="len(bboxs) > 0")


def _visual_cot_turns(form: Form, read: str) -> Mapped:
    place = r"'###\[\s*(-?[\d.]+),\s*(-?[\d.]+),\s*(-?[\d.]+),\s*(-?[\d.]+)\s*\]'"
    numbers = ", ".join(f"CAST(regexp_extract(image[2], {place}, {group}) AS DOUBLE)" for group in (1, 2, 3, 4))
    fields = (
        FormField(name="question_id", sql="CAST(question_id AS VARCHAR)", origin="question_id"),
        FormField(name="image", sql=below(form.images, "image[1]"), origin="image, the first"),
        FormField(name="question", sql=cleaned("conversations[1].value"), origin="conversations, turn 1"),
        FormField(name="answer", sql="conversations[4].value", origin="conversations, turn 4"),
        FormField(name="split", sql="split", origin="split"),
        FormField(name="source", sql="dataset", origin="dataset"),
        FormField(name="boxes", sql=f"[{{phrase: '{EVIDENCE}', box: [{numbers}]}}]", origin="image, behind ###"),
    )
    return Mapped(fields=fields, table=read, where="image[2] LIKE '%###[%'")


def coco(form: Form, describe: Describe) -> Mapped:
    """Map COCO's instances: one question per image and category, worded by `question`; the boxes of the category are its
    instances. Crowds are no instances."""
    if "{phrase}" not in form.question:
        needs = 'needs source.question, the words of every question, as "How many people use the {phrase}?"'
        raise SourceFaultError(f'source.format = "coco" {needs}: its file has boxes and no questions.')
    read = f"read_json({literal(form.files)}, maximum_object_size = 4000000000)"
    columns = describe(f"SELECT * FROM {read}")
    if lacking := [name for name in ("images", "annotations", "categories") if name not in columns]:
        raise SourceFaultError(_lacking(form, lacking[0], columns))
    table = "\n     ".join(
        (
            f"(SELECT unnest(annotations) AS a FROM {read})",
            f"JOIN (SELECT unnest(images) AS i FROM {read}) ON a.image_id = i.id",
            f"JOIN (SELECT unnest(categories) AS c FROM {read}) ON a.category_id = c.id",
        )
    )
    crowd = "coalesce(a.iscrowd, 0) = 0" if "iscrowd" in str(columns["annotations"]) else "true"
    question = " || c.name || ".join(map(literal, form.question.split("{phrase}")))
    fields = (
        FormField(name="question_id", sql="i.id || '-' || c.id", origin="images.id, categories.id"),
        FormField(name="image", sql=below(form.images, "any_value(i.file_name)"), origin="images.file_name"),
        FormField(name="question", sql=f"any_value({question})", origin="source.question, categories.name"),
        FormField(name="phrases", sql="[any_value(c.name)]", origin="categories.name"),
        FormField(
            name="boxes",
            sql="list({phrase: c.name, box: [a.bbox[1], a.bbox[2], a.bbox[1] + a.bbox[3], a.bbox[2] + a.bbox[4]]})",
            origin="annotations.bbox",
        ),
    )
    return Mapped(fields=fields, table=table, where=f"{crowd}\nGROUP BY i.id, c.id")


def folder(form: Form, describe: Describe) -> Mapped:
    """Map a folder of images with a file of the same name beside each: .json (V*Bench's authors' form: question, options,
    target_object, bbox) or .txt (the question). With `question`, every image alone has that one."""
    where = f"regexp_matches(file, {literal(IMAGE_FILES)}, 'i')"
    inside = form.images.strip("/") or "**"
    images = f"SELECT file, regexp_replace(file, '\\.[^./]+$', '') AS stem FROM glob({literal(_joined(inside))})"
    images = f"({images} WHERE {where})"
    image = FormField(name="image", sql="file", origin="files")
    kind = FormField(name="kind", sql="regexp_extract(stem, '([^/]+)/[^/]+$', 1)", origin="folders")
    identity = FormField(name="question_id", sql="stem", origin="names of files")
    if form.question:
        text = FormField(name="question", sql=literal(form.question), origin="source.question")
        return Mapped(fields=(identity, image, text, kind), table=images)
    beside = form.files or "**/*.json"
    if beside.endswith(".txt"):
        stem = "regexp_replace(filename, '\\.[^./]+$', '')"
        table = f"{images} JOIN (SELECT {stem} AS stem, content FROM read_text({literal(beside)})) USING (stem)"
        text = FormField(name="question", sql=cleaned("content"), origin=".txt files")
        return Mapped(fields=(identity, image, text, kind), table=table)
    read = f"read_json({literal(beside)}, filename = true, union_by_name = true)"
    columns = describe(f"SELECT * FROM {read}")
    found = {name: named(columns, names) for name, names in NAMES.items()}
    if not found["question"]:
        raise SourceFaultError(_lacking(form, "question", columns))
    table = f"{images} JOIN (SELECT *, regexp_replace(filename, '\\.[^./]+$', '') AS stem FROM {read}) USING (stem)"
    fields = [identity, image, question_field(found["question"], ()), kind]
    if found["options"]:
        fields.append(FormField(name="options", sql=quoted(found["options"]), origin=found["options"]))
    if found["answer"]:
        fields.append(FormField(name="answer", sql=as_text(found["answer"], columns), origin=found["answer"]))
    return Mapped(fields=(*fields, *phrases_and_boxes(found, columns)), table=table)


_FORMS: Mapping[str, Callable[[Form, Describe], Mapped]] = {
    "csv": flat,
    "hf": flat,
    "llava": llava,
    "visual-cot": visual_cot,
    "coco": coco,
    "folder": folder,
}


def _lacking(form: Form, name: str, columns: Columns) -> str:
    known = ", ".join(column for column in columns if column != "filename")
    names = f", named as one of {', '.join(NAMES[name])}" if name in NAMES else ""
    return (
        f'source.format = "{form.format}": {form.files!r} has no column {name!r}{names}. It has: {known}. '
        'Write source.query with format = "query".'
    )


def _id_field(column: str, form: Form) -> FormField:
    if column:
        return FormField(name="question_id", sql=f"CAST({quoted(column)} AS VARCHAR)", origin=column)
    stem = PurePosixPath(form.files).name.partition(".")[0].strip("*-_") or "row"
    return FormField(name="question_id", sql=f"{literal(stem + '-')} || row_number() OVER ()", origin="rows, numbered")


def _image_field(column: str, columns: Columns, form: Form) -> FormField:
    return FormField(name="image", sql=_image_sql(quoted(column), columns[column], form), origin=column)


def _image_sql(sql: str, kind: Any, form: Form) -> str:  # noqa: ANN401 - a DuckDB type
    if not form.images or kind.id in {"struct", "blob"} or "STRUCT" in str(kind):
        return sql
    if kind.id in {"list", "array"}:
        return f"list_transform({sql}, lambda i: {literal(form.images.rstrip('/') + '/')} || i)"
    return below(form.images, sql if str(kind) != "JSON" else f"{sql}->>'$'")


def _is_turn(kind: Any) -> str:  # noqa: ANN401 - a DuckDB type
    """Return the condition on a turn `t` that leaves out system messages."""
    role = "role" if "role" in str(kind) else "from"
    return f"t.\"{role}\" <> 'system'"


def _cot_folder(dataset: str) -> str:
    return f"CASE {dataset} WHEN 'textcap' THEN 'textvqa' ELSE {dataset} END || '/'"


def _joined(inside: str) -> str:
    return inside if "*" in inside else f"{inside}/**"
