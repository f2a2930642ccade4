"""The command `viewgen`: init, build, hash, recut, inspect, sql, report, demo, schema, kinds, settings. A user's
mistake is one line on standard error and exit code 2. Leaves out: all work. Modules that take long to import are
imported by the command that needs them."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from viewgen.commands import new_app, run_app
from viewgen.errors import SettingsError, ShortfallError
from viewgen.settings import settings_from

if TYPE_CHECKING:
    from viewgen.build.builder import BuildOptions

app = new_app("Questions and images in, question-relevant evidence views out.")


def main() -> None:
    """Run the command line of the console entry point."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command; returns the exit code."""
    stopped = "stopped. What is finished stays: the same command goes on from there."
    return run_app(app, "viewgen", arguments, extra="build", when_stopped=stopped)


@app.command()
def init(
    path: Annotated[Path, typer.Argument(metavar="SOURCE", help="File of questions, or the folder that holds it.")],
    out: Annotated[Path, typer.Option(help="The recipe to write.")] = Path("recipe.toml"),
    images: Annotated[str, typer.Option(help="Folder below the source that paths of images are relative to.")] = "",
) -> None:
    """Look at a source, say what is understood of it, and write the recipe that builds views of it."""
    from viewgen.files import write_whole
    from viewgen.report.first_look import as_text
    from viewgen.source.first_look import look, recipe_text

    if out.exists():
        raise SettingsError(f"{out}: is there already. Name another file by --out.")
    seen = look(path, out, images)
    with write_whole(out) as partial:
        partial.write_text(recipe_text(seen, out), encoding="utf-8")
    print(as_text(seen))
    print(f"\n{out}: written. Next: viewgen build {out} --out VIEWSET")


@app.command()
def build(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="TOML file: the source and every setting.")],
    out: Annotated[Path, typer.Option(help="Folder of the view set; an unfinished one is finished.")],
    force: Annotated[bool, typer.Option("--force", help="Rebuild every part of an existing view set.")] = False,
    only: Annotated[list[int] | None, typer.Option(help="Rebuild this part alone; may be given again.")] = None,
    retry_failed: Annotated[
        list[str] | None,
        typer.Option(help="Rebuild the parts with questions rejected for this reason; may be repeated."),
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="Build some images with so many questions, for a first look.")] = 0,
    plan: Annotated[
        bool, typer.Option("--plan", help="Say what would be built, with time and size; build nothing.")
    ] = False,
    reviews: Annotated[Path | None, typer.Option(help="CSV of verdicts, as the page of `report` saves it.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="To open images; one per core if not given.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes to cut views; one per core if not given.")
    ] = None,
    allow_eval_data: Annotated[
        bool, typer.Option("--allow-eval-data", help="Make training views of a benchmark's rows too.")
    ] = False,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Go on where half of the image files or more are missing.")
    ] = False,
) -> None:
    """Build the view set of a recipe, or go on with one that was begun."""
    # Threads of a model that wait for each other would otherwise spin on the cores that encode the views.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

    from viewgen.build.builder import BuildOptions, build_views
    from viewgen.progress import counted, duration
    from viewgen.report.inspect import in_words, shortfall, summarise
    from viewgen.viewset.shards import ViewSet

    if force and only:
        raise SettingsError("--force rebuilds all parts, --only some of them. Give one of the two.")
    options = BuildOptions(
        force=force,
        only=tuple(only or ()),
        retry_failed=tuple(retry_failed or ()),
        limit=limit,
        reviews=reviews,
        allow_eval_data=allow_eval_data,
        allow_missing=allow_missing,
    )
    options = options if threads is None else replace(options, num_threads=threads)
    options = options if workers is None else replace(options, num_workers=workers)
    if plan:
        _plan(recipe, options)
        return
    start_s = time.monotonic()
    report = build_views(recipe, out, options)
    spent = duration(time.monotonic() - start_s)
    summary = summarise(ViewSet.open(out)) if report.is_complete else None
    if summary:
        print(in_words(summary) + "\n")
    made = f"{counted(report.num_made, 'part')} built in {spent}, {report.num_reused:,} reused"
    print(f"{out}: {made}, of {report.num_parts:,}.")
    if summary and (lost := shortfall(summary)):
        raise ShortfallError(f"{out}: {lost}")


def _plan(recipe: Path, options: BuildOptions) -> None:
    """Print what a build would do and take."""
    from viewgen.build.estimate import estimate, in_words

    print(in_words(estimate(recipe, options)))


@app.command("recut")
def recut_command(
    view_set: Annotated[Path, typer.Argument(metavar="VIEWSET", help="Folder of a view set.")],
    out: Annotated[Path, typer.Option(help="Folder of the new view set; must not be there.")],
    kinds: Annotated[str, typer.Option(help="Kinds of view, with commas: masked,shuffled_patches.")],
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="Setting of [views], as mask_fill=black; may be given again.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes to cut views; one per core if not given.")
    ] = None,
) -> None:
    """Cut other kinds of view from the images and the evidence of a view set, without grounding again."""
    from viewgen.build.builder import BuildOptions
    from viewgen.build.recut import recut
    from viewgen.progress import counted
    from viewgen.settings import assigned

    names = [name.strip() for name in kinds.split(",") if name.strip()]
    given = assigned(changes or [], "viewgen recut")
    options = BuildOptions() if workers is None else BuildOptions(num_workers=workers)
    report = recut(view_set, out, names, given, options)
    lost = f", {report.num_rejected:,} rejected" if report.num_rejected else ""
    print(f"{out}: {counted(report.num_views, 'view')} of {counted(report.num_kept, 'question')}{lost}.")


@app.command("hash")
def hash_command(
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="Evaluation set: a recipe, a view set, or a folder of images.")
    ],
    out: Annotated[Path, typer.Option(help="Parquet file of the hashes.")],
    threads: Annotated[int | None, typer.Option(min=1, help="To open images; one per core if not given.")] = None,
) -> None:
    """Store the hashes of an evaluation set, for `decontaminate.against` of a recipe: they show nothing of its images."""
    from viewgen.decontaminate import read_set, write_hashes
    from viewgen.progress import counted

    if out.suffix != ".parquet":
        raise SettingsError(f"{out}: must end in .parquet. Give it such a name.")
    found = read_set(source, source.name, threads or os.cpu_count() or 1)
    write_hashes(found.images, out)
    print(f"{out}: hashes of {counted(len(found.images), 'image')}.")
    if found.num_exact_only:
        print(
            f"Of {found.num_exact_only:,} only equal files are found: they hold too little detail, or cannot be decoded."
        )


@app.command()
def inspect(
    view_set: Annotated[Path, typer.Argument(metavar="VIEWSET", help="Folder of a view set.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Count what a view set holds: kept and rejected questions and why, views, flags, and what was measured of them."""
    from viewgen.report.inspect import in_words, measures_in_words, summarise
    from viewgen.viewset.shards import ViewSet

    summary = summarise(ViewSet.open(view_set))
    if as_json:
        print(json.dumps(asdict(summary), indent=2))
    else:
        print("\n\n".join(filter(None, (in_words(summary), measures_in_words(summary)))))


@app.command()
def sql(
    view_set: Annotated[Path, typer.Argument(metavar="VIEWSET", help="Folder of a view set.")],
    query: Annotated[str, typer.Argument(metavar="QUERY", help="One SELECT over images, questions, views, rejects.")],
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV instead of a table.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Ask a view set anything, in DuckDB's SQL. Reads its tables and nothing else; bytes are shown as their number."""
    from viewgen.report.sql import as_csv, as_table, ask
    from viewgen.report.sql import as_json as in_json
    from viewgen.viewset.shards import ViewSet

    if csv and as_json:
        raise SettingsError("--csv and --json are two forms of one answer. Give one of them.")
    answer = ask(ViewSet.open(view_set), query)
    if csv:
        sys.stdout.writelines(as_csv(answer))
    else:
        print(in_json(answer) if as_json else as_table(answer))


@app.command()
def verify(
    view_set: Annotated[Path, typer.Argument(metavar="VIEWSET", help="Folder of a view set.")],
    threads: Annotated[int | None, typer.Option(min=1, help="One per core if not given.")] = None,
) -> None:
    """Check a view set to its last bit: hashes of files and images, columns, references, every image decoded."""
    from viewgen.errors import ShardError
    from viewgen.viewset.verify import in_words, verify

    checked = verify(view_set, threads or os.cpu_count() or 1)
    print("\n".join(in_words(checked)))
    if checked.damages:
        again = " ".join(f"--only {part}" for part in checked.parts[:10])
        remedy = f"Rebuild with `viewgen build RECIPE --out {view_set} {again or '--force'}`."
        raise ShardError(f"{view_set}: is damaged. {remedy}")


@app.command()
def diff(
    first: Annotated[Path, typer.Argument(metavar="A", help="Folder of a view set.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Folder of another.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell in what two view sets differ. Exit code 0: their questions and views are the same; 1: they differ."""
    from viewgen.report.diff import as_json as in_json
    from viewgen.report.diff import diff, in_words
    from viewgen.viewset.shards import ViewSet

    found = diff(ViewSet.open(first), ViewSet.open(second))
    print(json.dumps(in_json(found), indent=2) if as_json else in_words(found))
    if not found.is_empty:
        raise typer.Exit(1)


@app.command()
def report(
    view_set: Annotated[Path, typer.Argument(metavar="VIEWSET", help="Folder of a view set.")],
    out: Annotated[Path | None, typer.Option(help="The page to write; VIEWSET.html beside it if not given.")] = None,
    questions: Annotated[int, typer.Option(min=0, help="Kept ones, and rejected ones, in the contact sheet.")] = 300,
    seed: Annotated[int, typer.Option(help="Another seed draws other questions.")] = 0,
    root: Annotated[
        Path | None, typer.Option(help="Folder of the source's images, for rejected questions without one.")
    ] = None,
) -> None:
    """Write a page to look at: counts, distributions, and a contact sheet whose marks `viewgen build --reviews` takes."""
    from viewgen.report.page import report_path, write_report
    from viewgen.report.sheet import SheetConfig

    page = out or report_path(view_set)
    sheet = write_report(view_set, page, SheetConfig(num_questions=questions, seed=seed, root=root))
    shown = f"{len(sheet.kept):,} kept and {len(sheet.rejected):,} rejected questions"
    print(f"{page}: {shown}, {page.stat().st_size / 1e6:.1f} MB. Open it in a browser.")


@app.command("export")
def export_command(
    view_set: Annotated[Path, typer.Argument(metavar="VIEWSET", help="Folder of a view set.")],
    to: Annotated[str, typer.Option("--to", help="Form; `viewgen export --help` names them.")],
    out: Annotated[Path, typer.Option(help="File, archive or folder to write; must not be there.")],
    split: Annotated[str, typer.Option(help="Split to hand on.")] = "train",
    positive: Annotated[str, typer.Option(help="Kind of view that shows the evidence.")] = "crop",
    negative: Annotated[str, typer.Option(help="Kind of view that does not.")] = "off_region",
    where: Annotated[str, typer.Option(help="Condition on questions, in DuckDB's SQL.")] = "",
    file_mb: Annotated[float, typer.Option(min=1, help="Largest file, in millions of bytes.")] = 1000.0,
) -> None:
    """Hand a view set on to another trainer or tool, checked as that would check it.

    Forms: verl, vision-opd, swift, swift-dpo, trl-dpo, papo, llama-factory, image-pairs, hf, boxes, coco, webdataset.
    """
    from viewgen.export.run import ExportConfig, export, in_words
    from viewgen.viewset.shards import ViewSet

    given = {"to": to, "split": split, "positive": positive, "negative": negative, "where": where, "file_mb": file_mb}
    report = export(ViewSet.open(view_set), settings_from(given, ExportConfig, "viewgen export"), out)
    print(in_words(report))
    if report.lost.num > report.num_rows:
        raise ShortfallError(f"{out}: written, but more than half of the questions were left out.")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for images, questions.parquet and truth.parquet.")],
    seed: Annotated[int | None, typer.Option(help="Other seeds draw other scenes.")] = None,
    train: Annotated[int | None, typer.Option(min=0, help="Scenes to learn from.")] = None,
    selection: Annotated[int | None, typer.Option(min=0, help="Scenes for choosing settings.")] = None,
    test: Annotated[int | None, typer.Option(min=0, help="Scenes for the final figure.")] = None,
) -> None:
    """Draw scenes with small signs and questions about them: data that needs no download."""
    from viewgen.source.demo import DemoConfig, write_demo

    given = {"seed": seed, "num_train": train, "num_selection": selection, "num_test": test}
    settings = {name: value for name, value in given.items() if value is not None}
    num_scenes = write_demo(out, settings_from(settings, DemoConfig, "viewgen demo"))
    print(f"{out}: {num_scenes:,} scenes drawn. Build views with `viewgen build RECIPE --out VIEWSET`.")


@app.command()
def schema() -> None:
    """Print the format of a view set: docs/data-format.md."""
    from viewgen.viewset.card import data_format

    print(data_format(), end="")


@app.command()
def kinds() -> None:
    """Print every kind of view and every flag of the audit: docs/kinds.md."""
    from viewgen.audit.catalogue import kinds_page

    print(kinds_page(), end="")


@app.command()
def settings() -> None:
    """Print every setting of a recipe with its default and its sentence, as a TOML file."""
    from viewgen.build.config import BuildConfig
    from viewgen.setting_docs import settings_toml

    print(settings_toml("viewgen build", BuildConfig), end="")
