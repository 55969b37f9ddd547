"""Options of the command line: those of every command that takes a model, and those that several share."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_type_hints

import typer

from fxcost.request import Attention, Cache, Experts, Fusion, Mode, Request

By = Literal["layer", "module", "op"]
"""Rows of `fxcost trace`."""
Form = Literal["table", "md", "csv", "json", "html"]
"""Forms of a printed report."""
MODEL_HELP = (
    "resnet50 (searched in torchvision, then timm), torchvision:NAME, timm:NAME, hf:REPO_OR_DIR_OR_CONFIG.json, "
    "package.module:factory, path/to/file.py:factory, program.pt2, or a saved .json"
)
Model = Annotated[str, typer.Argument(metavar="MODEL", help=MODEL_HELP)]
Symbolic = Annotated[
    str | None,
    typer.Option(
        "--symbolic",
        "-s",
        metavar="H,W,B",
        help="Sizes kept as symbols; H%32 declares a multiple. Default: all the inputs have.",
    ),
]
Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--input", "-i", metavar="'x: float32[B,3,H,W]'", help="An input of the model, by name; repeat for more."
    ),
]
At = Annotated[
    list[str] | None,
    typer.Option(
        "--at", metavar="B=8,H=224", help="Sizes to evaluate at, others take the model's usual ones; repeat for more."
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="An argument of the model's factory; repeat for more."),
]
Budget = Annotated[
    float,
    typer.Option(
        "--budget", metavar="SECONDS", min=1, max=10**6, help="Time a trace may take before image sizes are fixed."
    ),
]
Plugins = Annotated[
    list[str] | None,
    typer.Option("--plugin", metavar="MODULE|FILE.py", help="Operator rules or passes; repeat for more."),
]
Strict = Annotated[bool, typer.Option("--strict", help="Exit 3 when the model calls operators without a rule.")]
AttentionOption = Annotated[
    Attention,
    typer.Option("--attention", case_sensitive=False, help="math adds the score matrix to attention's traffic."),
]
ModeOption = Annotated[
    Mode,
    typer.Option(
        "--mode",
        case_sensitive=False,
        help="decode: one new token for each of B sequences, against a cache of P positions.",
    ),
]
ExpertsOption = Annotated[
    Experts,
    typer.Option(
        "--experts",
        case_sensitive=False,
        help="Experts that are read: expected under uniform routing, or the most that there can be.",
    ),
]
CausalSkip = Annotated[bool, typer.Option("--causal-skip", help="Count only the pairs that a causal mask keeps.")]
Leaves = Annotated[
    list[str] | None,
    typer.Option("--leaf", metavar="PATH", help="A submodule to count as one unknown call; repeat for more."),
]


def complete_platforms(start: str) -> list[str]:
    """The machines whose names begin so, for the completion of shells."""
    from fxcost.machines.sheets import platform_names

    return [name for name in platform_names() if name.startswith(start.lower())]


def complete_precisions(start: str) -> list[str]:
    """The number formats whose names begin so, for the completion of shells."""
    from fxcost.formats.scheme_sheets import scheme_names

    return [name for name in scheme_names() if name.startswith(start.lower())]


Platforms = Annotated[
    list[str],
    typer.Option(
        "--platform",
        "-p",
        metavar="NAME",
        autocompletion=complete_platforms,
        help="A machine of `fxcost platforms`, or a TOML file; repeat to compare.",
    ),
]
Precision = Annotated[
    str | None,
    typer.Option(
        "--precision",
        metavar="fp16",
        autocompletion=complete_precisions,
        help="Number formats by name, as `fxcost precisions` lists them, composed (w4a16,cache=fp8) or from a TOML file. "
        "Default: the model's own dtype.",
    ),
]
Precisions = Annotated[
    list[str] | None,
    typer.Option(
        "--precision",
        metavar="fp16",
        autocompletion=complete_precisions,
        help="Number formats by name, as `fxcost precisions` lists them, composed (w4a16,cache=fp8) or from a TOML file; "
        "several with commas, or repeat, to compare. Default: the model's own dtype.",
    ),
]
FusionOption = Annotated[
    Fusion | None,
    typer.Option(
        "--fusion",
        case_sensitive=False,
        help="What runs as one kernel: none (each operation alone), pointwise (as torch.compile, the default), "
        "epilogue (contractions with what follows them), ideal (all).",
    ),
]
CacheOption = Annotated[
    Cache,
    typer.Option(
        "--cache",
        case_sensitive=False,
        help="ideal: what the machine's last-level cache keeps from call to call does not reach memory.",
    ),
]
Format = Annotated[
    Form | None,
    typer.Option(
        "--format", "-f", case_sensitive=False, help="Form of the report; default: what --output ends in, else a table."
    ),
]
Top = Annotated[int | None, typer.Option("--top", metavar="N", min=1, help="Only the N most expensive rows.")]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Write to a file (.csv, .html, .json, .md, .txt) instead of the terminal.",
    ),
]
Plot = Annotated[Path | None, typer.Option("--plot", metavar="FILE.svg|png", help="Draw it too (needs fxcost[plot]).")]


@dataclass(frozen=True)
class Asked:
    """The options of every command that say how a model is built and traced."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}
    """A lock file that holds an option of a newer version is refused."""

    symbolic: Symbolic = None
    inputs: Inputs = None
    at: str | None = None
    settings: Settings = None
    budget: Budget = Request.budget
    plugins: Plugins = None
    strict: Strict = Request.strict
    attention: AttentionOption = Request.attention
    causal_skip: CausalSkip = Request.causal_skip
    leaves: Leaves = None
    mode: ModeOption = Request.mode
    experts: ExpertsOption = "expected"


def model_command(command: Callable[..., None]) -> Callable[..., None]:
    """Make a command of a function whose parameter ``asked`` stands for all options of `Asked`."""
    own = [p for name, p in inspect.signature(command).parameters.items() if name != "asked"]
    names = [field.name for field in fields(Asked)]
    hints = get_type_hints(Asked, include_extras=True) | {"at": At}
    shared = [
        inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=hints[f.name])
        for f in fields(Asked)
    ]

    @wraps(command)
    def run(**values: Any) -> None:
        values["at"] = ",".join(values["at"]) if values["at"] else None  # as lock files keep it
        command(asked=Asked(**{name: values.pop(name) for name in names}), **values)

    kept = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
    run.__signature__ = inspect.Signature([*kept, *shared])  # pyright: ignore[reportAttributeAccessIssue]  # what typer reads
    run.__annotations__ = {p.name: p.annotation for p in [*kept, *shared]}
    return run
