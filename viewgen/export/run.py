"""Export a view set: read its rows, make and check a record of each, and write them whole or not at all.
Leaves out: the forms themselves (consumers.py, folders.py)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, ClassVar

import polars as pl
from pydantic import ConfigDict

from viewgen.errors import SettingsError, ShortfallError
from viewgen.export.consumers import TABLES_OF, Consumer, Record
from viewgen.export.folders import FILE_FORMS, HF_TYPES, FileForm, hf_record
from viewgen.export.rows import Choice, ExportRow, Lost, export_rows
from viewgen.files import PARTIAL, write_whole, write_whole_folder
from viewgen.progress import Progress, Stream, counted
from viewgen.settings import STRICT, Range, check_names, check_ranges
from viewgen.viewset.card import feature
from viewgen.viewset.manifest import fingerprint
from viewgen.viewset.shards import ViewSet

ROW_GROUP_MB = 32.0
"""Size of a row group, in millions of bytes: viewers and streaming readers load one at a time."""
HF = Consumer(
    name="hf",
    about="A folder for Hugging Face's datasets: load_dataset(FOLDER).",
    make=hf_record,
    check=lambda record: "",
    types=HF_TYPES,
    shape="folder",
    needs_negative=True,
)
CONSUMERS: Mapping[str, str] = {
    **{name: consumer.about for name, consumer in TABLES_OF.items()},
    HF.name: HF.about,
    **{name: form.about for name, form in FILE_FORMS.items()},
}
"""Name of each form -> who reads it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportConfig:
    """What to hand on, and how."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    to: str
    """Form: one of CONSUMERS."""
    split: str = "train"
    """Split to hand on."""
    positive: str = "crop"
    """Kind of view that shows the evidence."""
    negative: str = "off_region"
    """Kind of view that does not."""
    where: str = ""
    """Condition on questions, in DuckDB's SQL over the view set's tables; empty for all."""
    file_mb: Annotated[float, Range(gt=0, unit="MB")] = 1000.0
    """A table is divided into files of at most so many millions of bytes."""

    def __post_init__(self) -> None:
        check_ranges(self)
        remedy = "TRL, LLaMA-Factory and mDPO take no pairs of images: swift-dpo does." if "dpo" in self.to else ""
        check_names("to", self.to, CONSUMERS, remedy)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What was written, and what was left out."""

    files: tuple[Path, ...]
    num_rows: int
    lost: Lost


def export(views: ViewSet, config: ExportConfig, out: Path, progress_out: Stream | None = None) -> ExportReport:
    """Export the questions of a view set. `out`: a new file, archive or folder, by the form.

    Raises ViewgenError for a choice that the view set does not hold and for an `out` that is there, ShortfallError where
    no question can be handed on; nothing is written then.

    export(ViewSet.open(Path("views")), ExportConfig(to="verl"), Path("train.parquet")).num_rows
    """
    if out.exists():
        raise SettingsError(f"{out}: is there already. Name another place.")
    form: Consumer | FileForm = FILE_FORMS.get(config.to) or TABLES_OF.get(config.to) or HF
    _refuse_end(form, out)
    choice = Choice(
        split=config.split,
        positive=config.positive,
        negative=config.negative,
        where=config.where,
        needs_positive=form.needs_positive,
        needs_negative=form.needs_negative,
    )
    lost = Lost()
    with Progress(f"export {config.to}", views.splits().get(config.split, 0), "questions", progress_out) as progress:
        rows = progress.each(export_rows(views, choice, lost))
        files, num = _write(form, rows, config, out, lost, views)
    return ExportReport(files=tuple(files), num_rows=num, lost=lost)


def _write(
    form: Consumer | FileForm, rows: Iterator[ExportRow], config: ExportConfig, out: Path, lost: Lost, views: ViewSet
) -> tuple[list[Path], int]:
    if isinstance(form, FileForm):
        if form.is_archive:
            with write_whole(out) as partial:
                num = form.write(rows, partial)
                _refuse_nothing(num, lost, views)
        else:
            with write_whole_folder(out) as folder:
                num = form.write(rows, folder)
                _refuse_nothing(num, lost, views)
        return [out], num
    records = checked(form, rows, lost)
    if form.shape == "folder":
        with write_whole_folder(out) as folder:
            num = _write_dataset(form, records, folder, config)
            _refuse_nothing(num, lost, views)
        return [out], num
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{out.name}", suffix=PARTIAL, dir=out.parent) as name:
        parts, num = _write_tables(form, records, Path(name), config)
        _refuse_nothing(num, lost, views)
        return [_place(part, number, len(parts), out) for number, part in enumerate(parts)], num


def _place(part: Path, number: int, num: int, out: Path) -> Path:
    """Give a finished file its name: `out`, or NAME-00000-of-00002 where there are several."""
    place = out if num == 1 else out.with_name(f"{out.stem}-{number:05d}-of-{num:05d}{out.suffix}")
    part.replace(place)
    return place


def _refuse_end(form: Consumer | FileForm, out: Path) -> None:
    """Refuse a file whose name its consumer would not open."""
    end = ".parquet" if isinstance(form, Consumer) and form.shape == "table" else ""
    end = ".tar" if isinstance(form, FileForm) and form.is_archive else end
    if end and out.suffix != end:
        raise SettingsError(f"{out}: {form.name} is read by the end of its name. Call it {out.stem}{end}.")


def checked(form: Consumer, rows: Iterable[ExportRow], lost: Lost) -> Iterator[Record]:
    """Yield the records that the consumer will take; the others are noted with what it would stumble over.

    Records are numbered on as they are yielded, so that numbers are distinct and without gaps."""
    index = 0
    for row in rows:
        made = form.make(replace(row, index=index))
        fault = made if isinstance(made, str) else form.check(made)
        if isinstance(made, str) or fault:
            lost.add(fault, row.question_id)
            continue
        yield made
        index += 1


def _write_tables(
    form: Consumer, records: Iterable[Record], folder: Path, config: ExportConfig
) -> tuple[list[Path], int]:
    """Write the records as Parquet files of bounded size and one schema."""
    paths: list[Path] = []
    num = 0
    for some in _chunks(records, config.file_mb):
        path = folder / f"{len(paths):05d}.parquet"
        table = pl.DataFrame(some, schema=dict(form.types))
        rows = max(1, int(len(some) * ROW_GROUP_MB * 1e6 / max(sum(map(size_of, some)), 1)))
        table.write_parquet(path, row_group_size=rows, compression="zstd", compression_level=1)
        paths.append(path)
        num += len(some)
    return paths, num


def _chunks(records: Iterable[Record], file_mb: float) -> Iterator[list[Record]]:
    chunk: list[Record] = []
    size = 0
    for record in records:
        more = size_of(record)
        if chunk and size + more > file_mb * 1e6:
            yield chunk
            chunk, size = [], 0
        chunk.append(record)
        size += more
    if chunk:
        yield chunk


def size_of(value: Any) -> int:  # noqa: ANN401 - a record, and whatever stands in it
    """Return about how many bytes a value takes in a file."""
    if isinstance(value, bytes | str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(map(size_of, value.values()))
    return sum(map(size_of, value)) if isinstance(value, list | tuple) else 8


def _write_dataset(form: Consumer, records: Iterable[Record], folder: Path, config: ExportConfig) -> int:
    """Write a folder that Hugging Face's datasets and LLaMA-Factory load."""
    data = folder / "data"
    data.mkdir()
    parts, num = _write_tables(form, records, data, config)
    names = [_place(part, number, len(parts), data / "rows.parquet").name for number, part in enumerate(parts)]
    hashes = [fingerprint((data / name).read_bytes().hex()) for name in names]
    split = "".join(letter if letter.isalnum() else "_" for letter in config.split) or "train"
    header = [
        *(
            "---",
            "configs:",
            "- config_name: default",
            "  data_files:",
            f"  - split: {split}",
            "    path: data/*.parquet",
        ),
        *("dataset_info:", f"  description: viewgen {fingerprint(hashes)}", "  features:"),
        *(line for name, kind in form.types.items() for line in feature(name, kind, "  ")),
        "---",
    ]
    text = f"# {form.about}\n\nWritten by `viewgen export`: {counted(num, 'row')} of split {config.split}.\n"
    (folder / "README.md").write_text("\n".join([*header, text]), encoding="utf-8")
    if form.name == "llama-factory":
        tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
        entry = {"file_name": "data", "formatting": "sharegpt", "columns": {"messages": "messages", "images": "images"}}
        (folder / "dataset_info.json").write_text(json.dumps({"viewgen": {**entry, "tags": tags}}, indent=2) + "\n")
    return num


def _refuse_nothing(num: int, lost: Lost, views: ViewSet) -> None:
    if not num:
        reason, ids = max(lost.reasons.items(), key=lambda item: len(item[1]))
        what = f"no question of {lost.num:,} can be handed on: of {len(ids):,}, as {ids[0]!r}, {reason}"
        raise ShortfallError(f"{views.path}: {what}. Nothing was written.")


def in_words(report: ExportReport) -> str:
    """Return what was written and what was left out, with a question of each reason."""
    total = report.num_rows + report.lost.num
    lines = [f"{total:,} questions = {report.num_rows:,} written + {report.lost.num:,} left out"]
    for reason, ids in sorted(report.lost.reasons.items(), key=lambda item: -len(item[1])):
        lines.append(f"  {len(ids):,}: {reason} ({', '.join(map(repr, ids[:3]))}{', ...' if len(ids) > 3 else ''})")
    return "\n".join([*lines, *(f"{path}" for path in report.files)])
