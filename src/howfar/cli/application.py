"""The commands, and the one place where an exception becomes a line on standard error and an exit code."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import TyperException

from howfar._errors import HowfarError, HowfarWarning
from howfar._version import __version__
from howfar.cli import inquiries, printing, tables


class ExitCode(IntEnum):
    """What `howfar compare` tells the shell."""

    SAME = 0
    DIFFERENT = 1
    NOT_MEASURED = 2
    INTERRUPTED = 130


app = typer.Typer(
    name="howfar",
    help="How far apart are two distributions? As a number, as a test, and where.",
    epilog="Exit codes of compare: 0 no difference found, 1 a difference, 2 it could not be measured.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Reference = Annotated[str, typer.Argument(help="The table to compare with: a file or a folder.", show_default=False)]
Current = Annotated[str, typer.Argument(help="The table that may have moved.", show_default=False)]
Columns = Annotated[list[str] | None, typer.Option(help="Only these columns: names with commas between.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON and nothing else.")]
Seed = Annotated[int, typer.Option(help="Seed of all that is drawn at random.")]
MaxRows = Annotated[int, typer.Option(help="Rows a side for distances over all columns; more are subsampled.")]


@app.callback(invoke_without_command=True)
def _every_command(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    if version:
        printing.out(f"howfar {__version__}")
        raise typer.Exit


@app.command()
def compare(
    reference: Reference,
    current: Current,
    out: Annotated[Path | None, typer.Option(help="Write a report: one HTML file.", show_default=False)] = None,
    as_json: AsJson = False,
    columns: Columns = None,
    alpha: Annotated[float, typer.Option(help="How often equal tables may be called different.")] = 0.05,
    tolerance: Annotated[
        float | None,
        typer.Option(help="Effect, a share of rows from 0 to 1, that does not matter.", show_default=False),
    ] = None,
    seed: Seed = 0,
    permutations: Annotated[int, typer.Option(help="Random relabelings behind the p-values.")] = 999,
    max_rows: MaxRows = 5_000,
) -> int:
    """Say whether two tables differ, how much, how sure that is, and where."""
    return tables.compare(
        reference,
        current,
        out=out,
        as_json=as_json,
        columns=_names(columns),
        alpha=alpha,
        tolerance=tolerance,
        seed=seed,
        n_permutations=permutations,
        max_rows=max_rows,
    )


@app.command()
def distance(
    reference: Reference,
    current: Current,
    metric: Annotated[list[str], typer.Option(help="Names from `howfar list`, with commas between.")],
    as_json: AsJson = False,
    columns: Columns = None,
    seed: Seed = 0,
    max_rows: MaxRows = 2_000,
) -> None:
    """Print distances between two tables: numbers, without a test."""
    tables.distance(
        reference,
        current,
        metrics=_names(metric) or [],
        as_json=as_json,
        columns=_names(columns),
        seed=seed,
        max_rows=max_rows,
    )


@app.command(name="list")
def list_rows(as_json: AsJson = False) -> None:
    """List the distances that howfar knows."""
    inquiries.catalogue(as_json=as_json)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Print versions, devices and backends, and why one is missing."""
    inquiries.doctor(as_json=as_json)


@app.command()
def report(
    result: Annotated[
        Path, typer.Argument(help="What `howfar compare --json` printed, in a file.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="The HTML file to write.", show_default=False)],
) -> None:
    """Write the report of a comparison from its JSON."""
    tables.report(result, out=out)


def _names(given: list[str] | None) -> list[str] | None:
    """Names from an option that may be repeated and may hold commas."""
    if not given:
        return None
    return [name.strip() for part in given for name in part.split(",") if name.strip()]


def run(arguments: Sequence[str] | None = None) -> int:
    """The exit code of one call: every failure is one line on standard error and a 2, never the 1 of a difference."""
    with warnings.catch_warnings():
        warnings.simplefilter("default", HowfarWarning)
        warnings.showwarning = lambda message, *_, **__: printing.complain(f"warning: {message}")
        try:
            code = app(args=arguments, prog_name="howfar", standalone_mode=False)
        except TyperException as error:
            return _refuse(error)
        except HowfarError as error:
            printing.complain(str(error))
        except OSError as error:
            printing.complain(f"{error.filename or 'files'}: {error.strerror or error}. Check the path and its rights.")
        except MemoryError as error:
            printing.complain(f"not enough memory ({error}). Pass a smaller --max-rows, or fewer --columns.")
        except Exception:  # noqa: BLE001 - Python would exit with 1, which says "a difference"
            traceback.print_exc()
            printing.complain("this is a fault of howfar, not of your data. Report it with the lines above.")
        else:
            return int(code or 0)
    return ExitCode.NOT_MEASURED


def _refuse(error: TyperException) -> int:
    """A call that is no command: its complaint in one line, or the help where nothing was asked."""
    message = error.format_message()
    if type(error).__name__ == "NoArgsIsHelpError":
        printing.out(message)
    else:
        printing.complain(f"{message.rstrip('.')}. Try `howfar --help`.")
    return ExitCode.NOT_MEASURED
