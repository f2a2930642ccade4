"""Run a command line: errors that a user can mend become one line on standard error and exit code 2 (3 for
a shortfall), an interrupt becomes code 130. The frame of both command lines, `viewgen` and `trainer`.
Leaves out: the commands themselves (cli.py of both packages)."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Annotated

import typer
from typer.exceptions import Abort, Exit, TyperException

from viewgen.errors import ViewgenError

DISTRIBUTION = "vzero-evidence"
INTERRUPTED = 130
"""Exit code after Ctrl-C, which Typer turns into an Exit of its own."""
EXTRAS = frozenset(
    {"torch", "torchvision", "transformers", "open_clip", "timm", "groundingdino", "safetensors", "tokenizers"}
)
"""Modules that the extras `build` and `train` install."""


def new_app(about: str) -> typer.Typer:
    """Make an app with --version, without completion and without decorated tracebacks."""
    app = typer.Typer(
        help=about,
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )

    @app.callback()
    def options(
        show_version: Annotated[
            bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
        ] = False,
    ) -> None:
        """Take the options that stand before a command."""

    options.__doc__ = about  # Typer would show the sentence above as the help of the program
    return app


def run_app(
    app: Callable[..., object],
    program: str,
    arguments: Sequence[str],
    *,
    extra: str,
    when_stopped: str,
    mendable: tuple[type[Exception], ...] = (ViewgenError,),
) -> int:
    """Run one command and return its exit code. Without arguments it prints its help.

    `extra`: the extra that installs the model libraries of this program. `when_stopped`: the line after an interrupt."""
    try:
        code = app(args=list(arguments) or ["--help"], prog_name=program, standalone_mode=False)
    except mendable as error:
        return _refused(str(error), getattr(error, "exit_code", 2))
    except TyperException as error:
        return _refused(f"{error.format_message()} Try `{program} --help`.")
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in EXTRAS:
            raise
        command = f"{program} {arguments[0]}"
        return _refused(
            f"`{command}` needs {missing}, which is not installed. Run `pip install '{DISTRIBUTION}[{extra}]'`."
        )
    except OSError as error:  # a full disk, a folder that may not be written
        where = error.filename or f"{program} {' '.join(arguments[:1])}"
        return _refused(f"{where}: {error.strerror or error}. {_remedy(error)}")
    except Exit as end:
        code = end.exit_code
    except (KeyboardInterrupt, Abort):
        code = INTERRUPTED
    if code == INTERRUPTED:
        print(when_stopped, file=sys.stderr)
    return code if isinstance(code, int) else 0


def _remedy(error: OSError) -> str:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return "Free space or name another place."
    if error.errno in {errno.ENOTDIR, errno.EISDIR, errno.ENOENT, errno.EEXIST, errno.ENAMETOOLONG}:
        return "Name another place."
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return "Change its permissions or name another place."
    return "Run the same command again once that is mended: it goes on where it stopped."


def _refused(message: str, code: int = 2) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code


def _print_version(wanted: bool) -> bool:
    if wanted:
        print(f"{DISTRIBUTION} {version(DISTRIBUTION)}")
        raise typer.Exit
    return wanted
