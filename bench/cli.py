"""The command ``bench``: its subcommands, exit codes and error messages.

Exit status: 0 done; 1 some runs failed, all others finished; 2 the request was wrong, nothing was started; 130
interrupted, the same command resumes.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from typing import Any

import typer

from bench import __version__
from bench.commands.cancel import cancel
from bench.commands.data import data
from bench.commands.doctor import EXAMPLES as DOCTOR_EXAMPLES
from bench.commands.doctor import doctor
from bench.commands.export import EXAMPLES as EXPORT_EXAMPLES
from bench.commands.export import export
from bench.commands.gc import EXAMPLES as GC_EXAMPLES
from bench.commands.gc import gc
from bench.commands.list import listing
from bench.commands.report import EXAMPLES as REPORT_EXAMPLES
from bench.commands.report import report
from bench.commands.run import EXAMPLES as RUN_EXAMPLES
from bench.commands.run import run
from bench.commands.show import show
from bench.commands.speed import EXAMPLES as SPEED_EXAMPLES
from bench.commands.speed import speed
from bench.commands.status import status
from bench.commands.submit import EXAMPLES as SUBMIT_EXAMPLES
from bench.commands.submit import submit
from bench.commands.tune import EXAMPLES as TUNE_EXAMPLES
from bench.commands.tune import tune
from bench.echo import echo
from results.errors import BenchError, RequestError, nearest
from results.printable import accept_every_character

# Help is plain text: with rich it would take three times as long to appear.
app = typer.Typer(
    name="bench",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.command(epilog=RUN_EXAMPLES)(run)
app.command(epilog=TUNE_EXAMPLES)(tune)
app.command(epilog=SUBMIT_EXAMPLES)(submit)
app.command()(status)
app.command()(cancel)
app.command(epilog=REPORT_EXAMPLES)(report)
app.command()(show)
app.command(epilog=EXPORT_EXAMPLES)(export)
app.command(name="list")(listing)
app.command()(data)
app.command(epilog=DOCTOR_EXAMPLES)(doctor)
app.command(epilog=GC_EXAMPLES)(gc)
app.command(epilog=SPEED_EXAMPLES)(speed)

UsageError: type[Any] = typer.BadParameter.__mro__[1]
"""Raised by typer when the command line is wrong; its module differs between versions."""


OLD_OPTIONS = {"--plain": "--reference"}
"""Options of earlier versions, and what they are called now."""


def print_version(*, requested: bool) -> None:
    """Print the version and exit."""
    if requested:
        echo(f"bench {__version__}")
        raise typer.Exit


@app.callback(epilog="\b\nBegin with\n  bench run\nList what is available with\n  bench list methods")
def options(
    *,
    version: bool = typer.Option(
        False,
        "--version",
        is_eager=True,
        callback=lambda value: print_version(requested=value),
        help="Print the version.",
    ),
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
) -> None:
    """Which self-supervised method learns the better image representation, under the same conditions, at what cost?"""
    del version, debug


def main() -> None:
    """Run the command line; an error is one line on standard error."""
    accept_every_character()
    arguments = [OLD_OPTIONS.get(word, word) for word in sys.argv[1:]]
    for old in OLD_OPTIONS.keys() & set(sys.argv[1:]):
        echo(f"bench: {old} is called {OLD_OPTIONS[old]} now", err=True)
    try:
        code = app(arguments, standalone_mode=False)
    except BenchError as error:
        sys.exit(report_error(error, str(error), 2 if isinstance(error, RequestError) else 1))
    except UsageError as error:
        sys.exit(report_error(error, plain_words(error.format_message()), 2))
    except (KeyboardInterrupt, typer.Abort) as error:
        sys.exit(report_error(error, "interrupted", 130))
    except BrokenPipeError:  # who reads has read enough, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left to print goes nowhere
        sys.exit(1)
    except OSError as error:
        too_long = error.errno == errno.ENAMETOOLONG
        where = f"{error.filename}: " if error.filename else ""
        sys.exit(report_error(error, f"{where}{error.strerror or error}", 2 if too_long else 1))
    sys.exit(code)


CONDITIONS = {
    r"Input should be greater than or equal to (\S+)": r"it must be \1 or more",
    r"Input should be less than or equal to (\S+)": r"it must be \1 or less",
    r"Input should be a valid integer.*": "it must be a whole number",
    r"Input should be a valid number.*": "it must be a number",
    r"Input should be ": "it must be ",
    r"Value error, ": "",
}
"""What versions of typer that check values by pydantic say, and what it is called here."""


def plain_words(message: str) -> str:
    """What a user is told of a wrong command line, by what typer says."""
    for words, instead in CONDITIONS.items():
        message = re.sub(words, instead, message)
    choice = re.search(r"'([^']*)' is not one of ((?:'[^']*'(?:, )?)+)\.?$", message)
    if choice:
        known = re.findall("'([^']*)'", choice[2])
        return f"{message[: choice.start()]}there is no {choice[1]!r}; {nearest(choice[1], known)}"
    return message + suggestion(message)


def suggestion(message: str) -> str:
    """What was meant by arguments that are names of methods or data sets: ``run simclr`` is ``--methods simclr``."""
    from protocols.spec.plugins import DATASETS, METHODS

    found = re.search(r"unexpected extra argument(?:s|\(s\))? \((.+)\)", message)
    words = re.split(r"[\s,]+", found[1]) if found else []
    for option, registry in (("methods", METHODS), ("datasets", DATASETS)):
        if words and all(word in registry for word in words):
            return f"; did you mean --{option} {','.join(words)}?"
    return ""


def report_error(error: BaseException, line: str, code: int) -> int:
    """Print an error; returns the exit status."""
    if "--debug" in sys.argv:
        raise error
    line = re.sub(r"\S{400,}", lambda word: f"{word[0][:100]}…{word[0][-20:]}", line)
    echo(f"bench: {line}", err=True)
    return code
