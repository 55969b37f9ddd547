"""The command line: its commands in their order, and the border where errors are told."""

import gc
import os
import sys
from collections import Counter
from contextlib import suppress
from contextvars import ContextVar
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperOption

from fxcost.cli.memory import fit
from fxcost.cli.platforms import platforms
from fxcost.cli.precisions import precisions
from fxcost.cli.regression import check, diff, lock
from fxcost.cli.roofline import crossover, roofline, sweep
from fxcost.cli.terminal import say
from fxcost.cli.trace import explain, trace
from fxcost.cli.verify import verify
from fxcost.errors import FxcostError, UsageError

# Every command imports what it needs itself: `fxcost --help` is to answer at once.


class _Command(TyperCommand):
    """A command that lets no option take the place of one before it."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # pyright: ignore[reportIncompatibleMethodOverride]  # as typer names it
        if not ctx.resilient_parsing:
            _, _, given = self.make_parser(ctx).parse_args(args=list(args))
            for option, times in Counter(each for each in given if isinstance(each, TyperOption)).items():
                if times > 1 and not (option.multiple or option.is_flag):
                    raise UsageError(f"{ctx.info_name} takes {option.opts[0]} once, and it is given {times} times")
        return super().parse_args(ctx, args)

    def invoke(self, ctx: typer.Context) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        from fxcost.user_code import exits_raised, raised

        try:
            with exits_raised():
                return super().invoke(ctx)
        except SystemExit as stop:  # no command raises it: the model's code does, where it runs
            raise FxcostError(raised("the model's code", stop)) from stop


app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="What each layer of a PyTorch model costs, as a formula, and from which batch size on a machine stops being "
    "limited by memory bandwidth. One multiply-add is 2 FLOPs. The model is left untouched, and no real data runs.",
)


def _version(asked: bool) -> None:
    from importlib.metadata import version

    if asked:
        print(f"fxcost {version('fxcost')}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version, and end.")
    ] = False,
) -> None:
    _debugging.set(debug)


_debugging: ContextVar[bool] = ContextVar("debugging", default=False)


for _command in (trace, crossover, roofline, sweep, fit, explain, verify, lock, diff, check, platforms, precisions):
    app.command(cls=_Command)(_command)


def main() -> None:
    """Run the command line; an error the user can mend is told in one or two lines."""
    _open_streams()
    gc.set_threshold(100_000)  # what a command makes is small, or lives until it ends
    try:
        try:
            app(prog_name="fxcost")
        finally:
            sys.stdout.flush()
    except FxcostError as error:
        _fail(error, str(error), error.exit_code)
    except BrokenPipeError:
        _write_no_more()
        sys.exit(1)
    except OSError as error:
        _write_no_more()
        _fail(error, f"cannot write to {error.filename or 'stdout'}: {error.strerror or error}", 1)
    except Exception as error:  # noqa: BLE001  # the last border: no traceback unless asked for
        if isinstance(error, OverflowError) or "integer string conversion" in str(
            error
        ):  # beyond floats, or 4,300 digits
            _fail(error, "a number here is too large to be computed with or shown; give smaller sizes with --at", 1)
        _fail(
            error,
            f"internal error, {type(error).__name__}: {error}\nPlease report it with what `fxcost --debug …` shows",
            1,
        )


def _open_streams() -> None:
    """Write text as UTF-8; a stream that was closed is one that nothing can be written to, not one that is skipped."""
    if sys.stdout is None:  # pyright: ignore[reportUnnecessaryComparison]  # where the shell closed it
        sys.stdout = Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115  # open until the end
    if sys.stderr is None:  # pyright: ignore[reportUnnecessaryComparison]
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding="utf-8")


def _write_no_more() -> None:
    """Let what is left for stdout go nowhere, so that Python does not try again when it ends."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(error: Exception, text: str, code: int) -> None:
    if _debugging.get():
        raise error
    say(f"fxcost: {text}")
    sys.exit(code)
