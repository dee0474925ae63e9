"""What all commands share: errors as sentences, exit codes, progress."""

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

import tbsclassify
from tbsclassify.cli._wording import in_words_of

FAILED = 1
IN_PART = 3
INTERRUPTED = 130

# What the library raises with a sentence for the user. All else is a fault of the
# library, which a traceback tells more of.
_DOCUMENTED = (ValueError, TypeError, OSError, ArithmeticError, ImportError)


class _Flags:
    """Options that take no value, of which `--help` says no type."""

    def get_params(self, ctx: Any) -> Any:
        parameters = super().get_params(ctx)  # type: ignore[misc]
        for one in parameters:
            if getattr(one, "is_flag", False):
                one.metavar = ""
        return parameters


class Command(_Flags, TyperCommand):
    """One of the commands."""


class _Group(_Flags, TyperGroup):
    """Commands whose documented errors are one sentence and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        def told(text: str) -> str:
            command = self.get_command(ctx, ctx.invoked_subcommand or "")
            return in_words_of(() if command is None else command.params, text)

        def show(message: Any, *args: Any, **kwargs: Any) -> None:
            warn(told(str(message)))

        with warnings.catch_warnings():
            warnings.showwarning = show
            warnings.simplefilter("default", UserWarning)  # shown, not raised
            try:
                return super().invoke(ctx)
            except BrokenPipeError:
                raise
            except KeyboardInterrupt:
                _tell("interrupted")
                raise typer.Exit(INTERRUPTED) from None
            except _DOCUMENTED as error:
                _tell(f"Error: {told(str(error))}")
                raise typer.Exit(FAILED) from None


app = typer.Typer(
    cls=_Group,
    name="tbsclassify",
    no_args_is_help=True,
    # A traceback with the values of variables may show what stands in a table.
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 fine, 1 failed (a sentence on stderr), 2 wrong usage, "
    "3 done, but some files or models have no score, 130 interrupted.",
)


def _version(wanted: bool) -> None:
    if wanted:
        print(tbsclassify.__version__)
        raise typer.Exit


@app.callback()
def _callback(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Show the version."
        ),
    ] = False,
) -> None:
    """Classify trabecular bone structure in lumbar-spine DXA scans by TBS range.

    Not a medical device. `tbsclassify demo` shows the whole job on phantoms.
    """


def say(text: str) -> None:
    """Tell a person what happens; a program that reads the output is not told."""
    if sys.stderr.isatty():
        _tell(text)


def warn(text: str) -> None:
    """Tell what must not be overlooked."""
    _tell(f"Warning: {text}")


@contextmanager
def progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar with the time left, on a terminal only.

    Yields a function that takes how much is done, and of how much.
    """
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _tell(text: str) -> None:
    typer.echo(text, err=True)
