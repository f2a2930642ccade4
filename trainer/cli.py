"""The command `trainer`: run, report, settings. A user's mistake is one line on standard error and exit code 2.
Leaves out: all work. Modules that take long to import are imported by the command that needs them."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from trainer.errors import TrainerError
from viewgen.commands import new_app, run_app
from viewgen.errors import ViewgenError

app = new_app("View sets in, a student that sees better out.")


def main() -> None:
    """Run the command line of the console entry point."""
    sys.exit(execute(sys.argv[1:]))


def execute(arguments: Sequence[str]) -> int:
    """Run one command; returns the exit code."""
    stopped = "stopped. What is saved stays: the same command goes on from the last checkpoint."
    mendable = (TrainerError, ViewgenError)
    return run_app(app, "trainer", arguments, extra="train", when_stopped=stopped, mendable=mendable)


@app.command()
def run(
    run_file: Annotated[Path, typer.Argument(metavar="RUNFILE", help="TOML file: the view set and every setting.")],
    out: Annotated[Path, typer.Option(help="Folder of the run; an unfinished run goes on.")],
) -> None:
    """Train a student on a view set, or go on with a run that was begun."""
    from trainer.config import read_run

    config = read_run(run_file)  # a wrong setting is answered before the model libraries load
    from trainer.loop import train

    summary = train(config, out, shlex.join(["trainer", *sys.argv[1:]]))
    if summary:
        print(in_words(summary))
    print(f"{out}: done. Look at it with `trainer report {out}`.")


@app.command()
def settings() -> None:
    """Print every setting of a run file with its default and its sentence, as a TOML file."""
    from trainer.config import RunConfig
    from viewgen.setting_docs import settings_toml

    print(settings_toml("trainer run", RunConfig), end="")


@app.command()
def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder that `trainer run` wrote.")],
    picture: Annotated[Path | None, typer.Option(help="Also draw one question of the run as a PNG file.")] = None,
) -> None:
    """Write the run's page, report.html, into its folder."""
    import json

    from trainer.report.page import readme_picture, write_report

    page = write_report(run)
    path = run / "evals" / "summary.json"
    summary = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if "before" in summary:
        print(in_words(summary))
    facts = json.loads((run / "run.json").read_text(encoding="utf-8"))
    if "minutes" in facts:
        print(f"minutes    {facts['minutes']}")
    print(f"view set   {_from_here(Path(facts['view_set']))}")
    print(f"page       {page}")
    if picture:
        print(f"picture    {readme_picture(run, picture)}")


def _from_here(path: Path) -> Path:
    """Return a path relative to the working folder, where it lies below it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def in_words(summary: Mapping[str, Any]) -> str:
    """Return the figures of an evaluation, a line each."""
    names = {
        "before": "before",
        "after": "after",
        "with_positive_view": "before, shown the evidence",
        "with_negative_view": "before, shown another place",
    }
    lines = [f"accuracy from the full image alone, {summary['before']['num']:,} held-out questions, 95 % intervals"]
    for key, name in names.items():
        if key in summary:
            share = summary[key]
            lines.append(f"  {name:<28}{share['accuracy']:.3f}  ({share['low']:.3f} to {share['high']:.3f})")
    gain = summary["difference"]
    lines.append(f"  {'gain':<28}{gain['mean']:+.3f}  ({gain['low']:+.3f} to {gain['high']:+.3f})")
    if "weight_right" in summary:
        weights = f"{summary['weight_right']:.3f} of right answers, {summary['weight_wrong']:.3f} of wrong ones"
        lines.append(f"mean gate weight of the rollouts, which is no part of the gain: {weights}")
    return "\n".join(lines)
