"""Costs kept from drifting: `fxcost lock`, `fxcost diff` and `fxcost check`."""

from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fxcost.cli.models import costs_of, is_saved
from fxcost.cli.terminal import CHECK_FAILED, form_of, print_report, say
from fxcost.errors import FxcostError
from fxcost.options import MODEL_HELP, Asked, Format, Output, model_command

if TYPE_CHECKING:
    from fxcost.costs.model import CostModel
    from fxcost.drift.diff import Difference
    from fxcost.drift.lock import LockedModel

LOCK = Path("costs.lock.json")
LARGEST_TOLERANCE = 10**9
"""More lets every total move."""
FINEST_TOLERANCE = Decimal("1e-12")


@model_command
def lock(
    asked: Asked,
    models: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL]…", help="As for `fxcost trace`; none: all that it holds.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The lock file.")] = LOCK,
) -> None:
    """Write models' formulas to a lock file, which `fxcost check` and `fxcost diff` compare with.

    Models that the file holds already are kept, or replaced when named again.
    """
    from fxcost.drift.lock import Lock, add_to_lock, load_lock, locked
    from fxcost.files import checked_target

    if not is_saved(str(output)):
        raise FxcostError(f"--output {output}: a lock file's name must end in .json, as {LOCK} does")
    checked_target(output)
    known = load_lock(output) if output.exists() else Lock(models=[])
    if not models and not known.models:
        raise FxcostError(f"{output} holds no models yet; name those to lock: fxcost lock resnet50 -o {output}")
    if not models and asked != Asked():
        raise FxcostError(f"options belong to models; without any, {output}'s are traced with their own options")
    wanted = [(model, asked) for model in models] if models else [(each.model, each.options) for each in known.models]
    entries = [locked(model, options, _traced(model, options)) for model, options in wanted]
    add_to_lock(entries, output)
    say(f"locked {', '.join(each.title for each in entries)} in {output}")


def _traced(model: str, options: Asked) -> "CostModel":
    if is_saved(model):
        raise FxcostError(f"{model} is a saved file, which nothing can trace again; name its model")
    return costs_of(model, options)


SIDE_HELP = "A lock file, a saved .json, REV:path/to/costs.lock.json, or a model"


@model_command
def diff(
    asked: Asked,
    old: Annotated[str, typer.Argument(metavar="OLD", help=f"{SIDE_HELP}: {MODEL_HELP}.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The same.")],
    form: Format = None,
    output: Output = None,
) -> None:
    """What changed between two models or lock files: each layer's formula and its size, totals, ranges."""
    from fxcost.drift.diff import compare
    from fxcost.inputs import parse_sizes
    from fxcost.reports.differences import differences_report

    form = form_of(form, output)
    sides = _side(old, asked), _side(new, asked)
    if len(sides[0]) == len(sides[1]) == 1:
        (title,) = sides[1]
        sides = {title: next(iter(sides[0].values()))}, sides[1]
    both = [title for title in sides[1] if title in sides[0]]
    if not both:
        raise FxcostError(
            f"no model is on both sides: {old} has {', '.join(sides[0])}; {new} has {', '.join(sides[1])}"
        )
    lines = [f"only in {old}: {title}" for title in sides[0] if title not in both]
    lines += [f"only in {new}: {title}" for title in sides[1] if title not in both]
    at = parse_sizes(asked.at or "")
    found = {title: compare(sides[0][title], sides[1][title], at) for title in both}
    print_report(differences_report(f"{old} → {new}", found, lines), form, output)


def _side(text: str, asked: Asked) -> "dict[str, CostModel]":
    """The models that one side of a comparison names, by title."""
    from fxcost.drift.lock import read_models
    from fxcost.drift.revisions import file_at, is_revision

    if is_revision(text) and not Path(text).exists():
        return read_models(file_at(text), text)
    if is_saved(text):
        from fxcost.files import read_file

        return read_models(read_file(Path(text), "lock file or saved model"), text)
    return {text: costs_of(text, asked)}


def check(
    lock: Annotated[Path, typer.Argument(metavar="[LOCK]", help="The lock file.")] = LOCK,
    tolerance: Annotated[
        str, typer.Option("--tolerance", metavar="0.5%", help="How far totals may move; default: not at all.")
    ] = "0",
    form: Format = None,
    output: Output = None,
) -> None:
    """Trace each model of a lock again; exit 4 when a total moved at any size, naming the layers that did.

    Compared are FLOPs, MACs, parameters and bytes in the model's dtype, at the locked sizes and at others.
    """
    from fxcost.drift.lock import load_lock
    from fxcost.reports.differences import differences_report
    from fxcost.reports.parts.change_lines import move_text

    form, allowed = form_of(form, output), _tolerance(tolerance)
    found: dict[str, Difference] = {}
    refused: list[str] = []
    for each in load_lock(lock).models:
        try:
            found[each.title] = _against_lock(each, lock)
        except FxcostError as error:
            refused.append(f"{each.title}: {error}")
    moved = {title: [*map(move_text, one.moves(allowed))] for title, one in found.items()}
    failed = [title for title, one in found.items() if moved[title] or one.gained_unknown]
    print_report(differences_report(f"{lock} against the models now", found), form, output)
    for title in failed:
        say(f"fxcost: {title} moved: {'; '.join(moved[title]) or 'operators without a rule'}")
    for line in refused:
        say(f"fxcost: cannot compare {line}")
    if failed:
        say(f"If this is meant, accept it with: fxcost lock -o {lock}")
    if refused or failed:
        raise typer.Exit(1 if refused else CHECK_FAILED)


def _against_lock(each: "LockedModel", lock: Path) -> "Difference":
    from fxcost.costs.files.records import to_model
    from fxcost.drift.diff import compare

    old = to_model(each.costs, f"{lock}: {each.title}")
    return compare(old, costs_of(each.model, each.options))


def _tolerance(text: str) -> Fraction:
    """Read ``0.5%`` or ``0.005``."""
    number, sign, rest = text.strip().partition("%")
    try:
        given = Decimal(number)
    except ArithmeticError:
        given = Decimal("NaN")
    # The smallest is bounded too: an exact fraction of 1e-999999999 would fill the memory.
    if rest or not (given == 0 or (given.is_finite() and FINEST_TOLERANCE <= given <= LARGEST_TOLERANCE)):
        raise FxcostError(f"--tolerance {text[:40]!r} is not a share such as 0.5% or 0.005")
    return Fraction(given) / (100 if sign else 1)
