"""Print the card of a view set and docs/data-format.md from schema.py.
Leaves out: every number that is not in the manifest (report/ reads the tables)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict

import polars as pl

from viewgen.viewset.manifest import Manifest, fingerprint
from viewgen.viewset.schema import IMAGE, SCHEMA_VERSION, TABLES, Column, DataType, Table

DESCRIBED = "  description: viewgen "
"""Beginning of the line that names the manifest's hash."""
_SEAL = "<!-- SHA-256 of what stands above: "

_FORMAT = f"""# The format of a view set

Printed by `viewgen schema` from `viewgen/viewset/schema.py`. Schema version {SCHEMA_VERSION}.

A view set is a folder with `README.md` (its card), `manifest.json` (settings, seed, models, and for every file its
rows, bytes and SHA-256) and one folder per table with files `part-00000.parquet`, `part-00001.parquet`, ... Part k of
every table speaks of the same images. Boxes are `x0`, `y0`, `x1`, `y1` in whole pixels of the upright image, far edges
outside.

Equal settings and sources give equal bytes on one kind of machine, whatever the number of workers and threads that open
images, the order of the query's rows, and however often the build was killed. Another batch size (`images_at_once`) or
another kind of machine adds numbers in another order: scores of models (`score`, `agreement`, `phrase_similarity`,
`similarity_margin`, `detector_score`) then lie within 1e-3, and a decision changes only where its score lies that near to
its threshold. Rounded scores are no more equal than others: 0.49475 can become 0.4947 or 0.4948.
"""
_CARD = """# A view set

Questions about images, each with views of its evidence, made by `viewgen build`. Schema version {version}, seed {seed}.

| table | rows | content |
|---|---|---|
{tables}

Models: {models}. Every setting is in `manifest.json`.

    import datasets
    views = datasets.load_dataset("PATH/OF/THIS/FOLDER", "views", split="rows")
"""


def data_format() -> str:
    """Return the text of docs/data-format.md."""
    return "\n".join([_FORMAT, *(_described(name, table) for name, table in TABLES.items())])


def card(manifest: Manifest) -> str:
    """Return the text of a view set's README.md. Its YAML header lets Hugging Face's `datasets` find the tables and
    decode the image columns."""
    counts = {name: sum(part.files[name].rows for part in manifest.parts) for name in TABLES}
    tables = "\n".join(f"| {name} | {counts[name]} | {table.meaning} |" for name, table in TABLES.items())
    models = ", ".join(f"{name} (SHA-256 {sha256[:16]})" for name, sha256 in sorted(manifest.models.items())) or "none"
    text = _CARD.format(version=manifest.schema_version, seed=manifest.seed, tables=tables, models=models)
    return sealed("\n".join(["---", *_yaml_header(manifest), "---", text]))


def sealed(text: str) -> str:
    """Return a text with a last line that holds its SHA-256."""
    return f"{text}{_SEAL}{hashlib.sha256(text.encode()).hexdigest()} -->\n"


def card_fault(text: str, manifest: Manifest) -> str:
    """Return what is wrong with a card: it was changed, or it is that of another manifest. Empty for a sound card, and
    for one that an earlier version wrote without a hash."""
    if _SEAL not in text and DESCRIBED not in text:
        return ""
    if sealed(text.rpartition(_SEAL)[0]) != text:
        return "was changed since it was written"
    made = f"{DESCRIBED}{fingerprint(asdict(manifest))}\n"
    return "" if text.count(DESCRIBED) == text.count(made) else "is not the card of this manifest"


def _described(name: str, table: Table) -> str:
    rows = [
        f"| `{column_name}` | {_type_words(column.type)}{_null_words(column)} | {column.unit} | {column.meaning} |"
        for column_name, column in table.columns.items()
    ]
    head = [f"## {name}", "", f"{table.meaning} Key: `{table.key}`.", "", "| column | type | unit | meaning |"]
    return "\n".join([*head, "|---|---|---|---|", *rows, ""])


def _null_words(column: Column) -> str:
    return ", may be null" if column.nullable else ""


def _type_words(kind: DataType) -> str:
    if isinstance(kind, pl.List):
        return f"list of {_type_words(_instance(kind.inner))}"
    if isinstance(kind, pl.Struct):
        return "{" + ", ".join(f"{field.name}: {_type_words(_instance(field.dtype))}" for field in kind.fields) + "}"
    return _dtype(kind)


def _yaml_header(manifest: Manifest) -> Iterator[str]:
    """Yield the lines of one configuration per table, with one split named `rows`: our own `split` is a column.

    The description is the hash of the manifest, and so another one for any two view sets: `datasets` would take one in
    its cache for the other, as their headers are equal otherwise."""
    made = fingerprint(asdict(manifest))
    yield "configs:"
    for name in TABLES:
        yield from (f"- config_name: {name}", "  data_files:", "  - split: rows", f"    path: {name}/*.parquet")
    yield "dataset_info:"
    for name, table in TABLES.items():
        yield from (f"- config_name: {name}", f"{DESCRIBED}{made}", "  features:")
        for column_name, column in table.columns.items():
            yield from feature(column_name, column.type, "  ")


def feature(name: str, kind: DataType, indent: str) -> Iterator[str]:
    """Yield the lines of a column in the YAML header by which Hugging Face's `datasets` decodes it."""
    yield f"{indent}- name: {name}"
    if kind == IMAGE:
        yield f"{indent}  dtype: image"
    elif isinstance(kind, pl.List) and _instance(kind.inner) == IMAGE:
        yield f"{indent}  list: image"
    elif isinstance(kind, pl.Struct | pl.List):
        inner = _instance(kind.inner) if isinstance(kind, pl.List) else kind
        if not isinstance(inner, pl.Struct):
            yield f"{indent}  list: {_dtype(inner)}"
            return
        yield f"{indent}  {'list' if isinstance(kind, pl.List) else 'struct'}:"
        for field in inner.fields:
            yield from feature(field.name, _instance(field.dtype), f"{indent}  ")
    else:
        yield f"{indent}  dtype: {_dtype(kind)}"


def _instance(kind: object) -> DataType:
    """Return an inner type as an object; polars returns either the object or its class."""
    found = kind() if isinstance(kind, type) else kind
    assert isinstance(found, pl.DataType)
    return found


def _dtype(kind: DataType) -> str:
    """Return the type's name as Arrow and Hugging Face spell it: string, int32, float64, ..."""
    return "bool" if isinstance(kind, pl.Boolean) else str(kind).lower()
