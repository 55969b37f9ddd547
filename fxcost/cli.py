"""The command line: its commands in their order, and the border where errors are told."""

import sys
from collections import Counter
from contextvars import ContextVar
from io import TextIOWrapper
from typing import Annotated

import typer
from typer.core import TyperCommand, TyperOption

from fxcost.commands.platforms import platforms
from fxcost.commands.regression import check, diff, lock
from fxcost.commands.roofline import crossover, roofline, sweep
from fxcost.commands.terminal import say
from fxcost.commands.trace import explain, trace
from fxcost.commands.verify import verify
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


app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="What each layer of a PyTorch model costs, as a formula, and from which batch size on a machine stops being "
    "limited by memory bandwidth. One multiply-add is 2 FLOPs. The model is left untouched, and no real data runs.",
)


@app.callback()
def _options(debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False) -> None:
    _debugging.set(debug)


_debugging: ContextVar[bool] = ContextVar("debugging", default=False)


for _command in (trace, crossover, roofline, sweep, explain, verify, lock, diff, check, platforms):
    app.command(cls=_Command)(_command)


def main() -> None:
    """Run the command line; an error the user can mend is told in one or two lines."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding="utf-8")
    try:
        app()
    except FxcostError as error:
        _fail(error, str(error), error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except Exception as error:  # noqa: BLE001  # the last border: no traceback unless asked for
        _fail(
            error,
            f"internal error, {type(error).__name__}: {error}\nPlease report it with what `fxcost --debug …` shows",
            1,
        )


def _fail(error: Exception, text: str, code: int) -> None:
    if _debugging.get():
        raise error
    say(f"fxcost: {text}")
    sys.exit(code)
