"""What became of each model of a library, and the table of it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Literal

from pydantic import BaseModel

RUNGS = ("exact", "replayed", "fixed")
LIBRARIES = ("torch", "torchvision", "timm", "transformers")
WILD = (
    "diffusers", "ultralytics", "segmentation-models-pytorch", "monai", "vit-pytorch", "torch-geometric", "x-transformers",
    "open_clip_torch", "encodec", "speechbrain", "peft", "torchao",
)  # fmt: skip


class Row(BaseModel, frozen=True):
    """What became of one model."""

    listed: str
    model: str
    rung: Literal["exact", "replayed", "fixed", ""] = ""
    """Empty where there are no costs."""
    symbols: Mapping[str, str] = {}
    """Each free symbol with its range."""
    pinned: Mapping[str, int] = {}
    conditions: int = 0
    counted: int = 0
    free: int = 0
    unknown: Mapping[str, int] = {}
    seconds: float = 0
    flops: int | None = None
    """At the usual sizes."""
    compared: Sequence[tuple[Mapping[str, int], int, int]] = ()
    """Sizes held out, with the FLOPs of our multiply-adds and of torch's counter."""
    changed: Sequence[str] = ()
    """What the model has otherwise after the trace than before."""
    failure: str = ""
    """Why there are no costs, or no comparison."""

    @property
    def agrees(self) -> bool:
        """Whether torch's counter says the same at every size that was compared."""
        return bool(self.compared) and not self.failure and all(ours == theirs for _, ours, theirs in self.compared)


def document(rows: Sequence[Row], command: str) -> str:
    """The numbers of models by rung, then a table for each list."""
    lists = list(dict.fromkeys(row.listed for row in rows))
    libraries = (*LIBRARIES, *(WILD if "wild" in lists else ()))
    installed = ", ".join(f"{name} {version(name).partition('+')[0]}" for name in libraries)
    lines = [
        "# Coverage",
        "",
        f"Written by `{command}` with {installed}.",
        "",
        "Each model is built and traced as `fxcost trace` does it, every size of its inputs symbolic. Then torch's own",
        "`FlopCounterMode` runs it at up to three other sizes, batch 1 among them, and its count is compared with our",
        "multiply-adds, two FLOPs each. Where a size is fixed the others are drawn. What each rung means is in the README.",
        "What a model holds before and after its trace is compared; where it differs the note says so.",
        "",
        "| list | models | " + " | ".join(RUNGS) + " | no costs | with unknown operators | equal to FlopCounterMode |",
        "|---|---" + "|---" * len(RUNGS) + "|---|---|---|",
        *(_summary(name, [row for row in rows if row.listed == name]) for name in lists),
    ]
    for name in lists:
        lines += ["", f"## {name}", "", *_table(row for row in rows if row.listed == name)]
    return "\n".join(lines) + "\n"


def _summary(name: str, rows: Sequence[Row]) -> str:
    rungs = Counter(row.rung for row in rows)
    unknown = sum(bool(row.unknown) for row in rows)
    equal = sum(row.agrees for row in rows)
    cells = [name, len(rows), *(rungs[rung] for rung in RUNGS), rungs[""], unknown, equal]
    return f"| {' | '.join(map(str, cells))} |"


def _table(rows: Iterable[Row]) -> list[str]:
    columns = (
        "model",
        "rung",
        "free",
        "fixed",
        "counted",
        "no cost",
        "unknown",
        "s",
        "GFLOPs",
        "FlopCounterMode",
        "note",
    )
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    return [*lines, *(f"| {' | '.join(_cells(row))} |" for row in rows)]


def _cells(row: Row) -> tuple[str, ...]:
    fixed = " ".join(f"{name}={size}" for name, size in row.pinned.items())
    free = ", ".join(name if limits == "1 or more" else f"{name}: {limits}" for name, limits in row.symbols.items())
    unknown = ", ".join(f"{op.removesuffix('.default')} ×{count}" for op, count in row.unknown.items())
    flops = "" if row.flops is None else f"{row.flops / 1e9:,.3f}"
    counts = (str(row.counted), str(row.free)) if row.rung else ("", "")
    least = "≥ " if row.unknown else ""
    return (
        row.model, row.rung, free, fixed, *counts, unknown, f"{row.seconds:.1f}", least + flops, _compared(row), _note(row),
    )  # fmt: skip


def _compared(row: Row) -> str:
    told = [
        f"{_difference(ours, theirs)} at {sizes_text(sizes) or 'its one size'}" for sizes, ours, theirs in row.compared
    ]
    return f"= at {'; '.join(each.removeprefix('= at ') for each in told)}" if row.agrees else "; ".join(told)


def _difference(ours: int, theirs: int) -> str:
    if ours == theirs:
        return "="
    return f"{ours / theirs - 1:+.2%}" if theirs else f"{ours:,} beside 0"


def sizes_text(sizes: Mapping[str, int]) -> str:
    return " ".join(f"{name}={size}" for name, size in sizes.items())


def _note(row: Row) -> str:
    notes = [" ".join(row.failure.split()).replace("|", "\\|")] if row.failure else []
    if row.changed:
        notes.append(f"changed: {', '.join(row.changed)}")
    if "fxcost.leaf.default" in row.unknown:
        notes.append("what follows its heads is decided by data")
    if row.conditions:
        notes.append(f"under {row.conditions} condition{'s' if row.conditions > 1 else ''} between its sizes")
    return "; ".join(notes)
