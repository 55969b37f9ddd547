"""How long a symbolic trace takes beside one concrete run of other counters, and what each of them answers.

Run as ``python -m bench.trace``. Every figure is taken in a process of its own, forked after imports and one warm-up,
so that no counter sees what another did to a model or to torch. Building a model is never part of a time.
"""

import contextlib
import gc
import importlib
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from unittest import mock

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fxcost.api import trace
from fxcost.costs.analysis import Request, trace_source
from fxcost.models.building import built_on
from fxcost.models.references import load_source
from fxcost.tracing import TraceError
from fxcost.tracing import fallback as ladder
from fxcost.tracing.source import Source
from fxcost.tracing.stack_room import with_room
from fxcost.verify.counters import (
    COUNTERS,
    CountedIn,
    Counter,
    Device,
    apart,
    callable_by_position,
    example_inputs,
    too_large,
)

LONGEST_SECONDS = 90
"""A counter that takes longer is stopped, and its cell says so."""
TRIES = 3
"""Processes that measure a trace, and that measure torch's counter: their ratio is judged."""
NARROWEST = 200
"""Columns that the table needs where the terminal does not say how wide it is."""

CONFIGURATIONS: Mapping[str, Mapping[str, Any]] = {
    "Llama-3-8B": {
        "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 8192,
        "dtype": "bfloat16",
    },
    # The same kind of block in both: how a trace grows with their number.
    "Llama-3-405B": {
        "model_type": "llama", "hidden_size": 16384, "intermediate_size": 53248, "num_hidden_layers": 126,
        "num_attention_heads": 128, "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 8192,
        "dtype": "bfloat16",
    },
    "GPT-2": {"model_type": "gpt2"},
    "BERT": {"model_type": "bert"},
    "T5": {"model_type": "t5"},
    "Mixtral-2-layers": {"model_type": "mixtral", "num_hidden_layers": 2, "dtype": "bfloat16"},
}  # fmt: skip
VISION = (
    "resnet50", "vgg16", "mobilenet_v3_large", "densenet121", "efficientnet_b0", "convnext_tiny", "vit_b_16", "swin_t",
    "deeplabv3_resnet50",
)  # fmt: skip
MODELS = (*VISION, *CONFIGURATIONS)
FORKED = "resnet50"
"""Is given with its weights, of which a fork copies the tables of pages."""
SYMBOLIC = {"swin_t": "B"}
"""What Swin does depends on H and W in too many ways to keep; every other model keeps all that it can."""


@dataclass(frozen=True)
class Answer:
    """What a counter said of a model, and how long it took to say it."""

    count: float
    unit: CountedIn
    seconds: float
    device: Device

    def __str__(self) -> str:
        where = "" if self.device == "meta" else " on CPU"
        return f"{self.seconds:.2f} s{where}\n{self.count / 1e9:,.3f} G{self.unit}"


# Measuring, each in its own process


def measure_trace(source: Source, name: str) -> Answer:
    start = time.perf_counter()
    costs = trace_source(source, Request(SYMBOLIC.get(name)), warn=lambda _: None)
    seconds = time.perf_counter() - start
    return Answer(float(costs.at().total.macs), "MACs", seconds, "meta")  # pyright: ignore[reportArgumentType]


def measure_export(source: Source, name: str) -> Answer:
    """The same costs by `torch.export`, as they are found where a run cannot be recorded."""
    with mock.patch.object(ladder, "record_module", side_effect=TraceError("left to export")):
        return measure_trace(source, name)


def measure_given(source: Source, isolated: bool) -> float:
    """Seconds to trace a module that is given, with what is imported for it once already there."""
    model: Any = source.module
    arguments = source.arguments

    def once() -> float:
        start = time.perf_counter()
        trace(model, inputs=arguments.args, kwargs=arguments.kwargs, at=source.defaults, isolated=isolated)
        return time.perf_counter() - start

    once()
    return statistics.median(once() for _ in range(3))


def measure_torchs(source: Source) -> Answer:
    """Torch's counter as its users run it, with nothing around it that takes time."""
    model, inputs = (
        callable_by_position(source, source.defaults, "meta"),
        example_inputs(source, source.defaults, "meta"),
    )
    torch.backends.mha.set_fastpath_enabled(False)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        start = time.perf_counter()
        with FlopCounterMode(display=False) as counter:
            model(*inputs.values())
        return Answer(counter.get_total_flops(), "FLOPs", time.perf_counter() - start, "meta")


def measure(counter: Counter, source: Source, device: Device) -> Answer:
    model, inputs = (
        callable_by_position(source, source.defaults, device),
        example_inputs(source, source.defaults, device),
    )
    torch.backends.mha.set_fastpath_enabled(False)
    with torch.no_grad():
        start = time.perf_counter()
        count = counter.run(model, inputs)
    return Answer(count, counter.unit, time.perf_counter() - start, device)


def on_either_device(counter: Counter, source: Source, ref: str) -> Answer | str:
    """On meta tensors when the counter can, else on the CPU."""
    if not counter.is_installed:
        return "not installed"
    found = counter.wrong_on_meta or apart(lambda: measure(counter, source, "meta"), LONGEST_SECONDS)
    if isinstance(found, Answer):
        return found
    if too_large(source):
        return f"needs weights\n({found})"

    def with_weights() -> Answer:
        with built_on("cpu"):
            return measure(counter, load_source(ref), "cpu")

    return apart(with_weights, LONGEST_SECONDS)


# The table


def bench(name: str, ref: str, say: Callable[[str], None]) -> tuple[list[str], float | None]:
    """One row, and how many concrete runs the trace took as long as."""
    source = load_source(ref)
    without_collections()
    ours = usual(lambda: measure_trace(source, name))
    say(f"{name}: fxcost {shown(ours)}")
    exported = apart(lambda: measure_export(source, name), LONGEST_SECONDS)
    say(f"{name}: by export {shown(exported)}")
    torchs = usual(lambda: measure_torchs(source))
    ratio, before = times(ours, torchs), times(exported, torchs)
    row = [name, str(ours), str(torchs), as_ratio(ratio), str(exported), as_ratio(before)]
    for counter in COUNTERS:
        found = on_either_device(counter, source, ref)
        say(f"{name}: {counter.name} {shown(found)}")
        row.append(str(found))
    return row, ratio


def usual(work: Callable[[], Answer]) -> Answer | str:
    """The answer of the process that took neither longest nor shortest, of `TRIES`."""
    answers = [apart(lambda: with_room(work), LONGEST_SECONDS) for _ in range(TRIES)]
    timed = [each for each in answers if isinstance(each, Answer)]
    if len(timed) < TRIES:
        return next(each for each in answers if isinstance(each, str))
    return sorted(timed, key=lambda each: each.seconds)[TRIES // 2]


def fork_cost(ref: str) -> str:
    """What it costs to trace a module, given with its weights, where it cannot touch it."""
    with built_on("cpu"):
        source = load_source(ref)
    both = [apart(partial(measure_given, source, isolated), LONGEST_SECONDS) for isolated in (True, False)]
    seconds = (f"{each:.2f} s" if isinstance(each, float) else each for each in both)
    return "{} given with its weights: {} in a forked child, {} in the same process".format(ref, *seconds)


def times(one: Answer | str, other: Answer | str) -> float | None:
    return one.seconds / other.seconds if isinstance(one, Answer) and isinstance(other, Answer) else None


def as_ratio(ratio: float | None) -> str:
    return "no ratio" if ratio is None else f"{ratio:.1f}x"


def shown(found: Answer | str) -> str:
    return " ".join(str(found).split())


def without_collections() -> None:
    """Keep what is there from collections, which else fall, long ones, into one measurement or another."""
    gc.collect()
    gc.freeze()


def warm_up() -> None:
    """Import every counter and use torch's parts once, which the first measurement would pay for alone."""
    for counter in ("fvcore.nn", *(each.name for each in COUNTERS)):
        # One that is missing or broken says so in its own cells.
        with contextlib.suppress(Exception), contextlib.redirect_stdout(None):
            importlib.import_module(counter)
    trace(
        torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU()),
        inputs=("x: float32[B,3,H,W]",),
        at={"H": 8, "W": 8},
        isolated=False,
    )
    with FlopCounterMode(display=False):
        torch.nn.Linear(4, 4, device="meta")(torch.ones(2, 4, device="meta"))


def main(
    only: Annotated[list[str] | None, typer.Option(help=f"A model to measure alone; of {', '.join(MODELS)}.")] = None,
) -> None:
    """Trace each model symbolically, run every counter on it once, and print both side by side."""
    names = only or list(MODELS)
    if unknown := set(names) - set(MODELS):
        raise typer.BadParameter(f"no model {', '.join(sorted(unknown))}; one of {', '.join(MODELS)}")
    # Processes that are forked cannot use threads of their parent.
    torch.set_num_threads(1)
    warm_up()
    without_collections()
    errors, out = Console(stderr=True), Console()
    out.width = max(out.width, NARROWEST)
    table = Table(
        *("model", "fxcost, symbolic", "FlopCounterMode", "ratio", "by export", "its ratio"),
        *(each.name for each in COUNTERS),
        show_lines=True,
    )
    ratios: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            row, ratio = bench(name, reference(name, Path(folder)), lambda text: errors.print(text, markup=False))
            table.add_row(*row)
            ratios += [] if ratio is None else [ratio]
    median = f"median ratio {statistics.median(ratios):.1f}x; " if ratios else ""
    table.caption = f"{median}seconds without building the model; batch 1"
    out.print(table, markup=False)
    out.print(fork_cost(FORKED), markup=False)


def reference(name: str, folder: Path) -> str:
    if name in VISION:
        return f"torchvision:{name}"
    place = folder / name
    place.mkdir()
    (place / "config.json").write_text(json.dumps(CONFIGURATIONS[name]))
    return f"hf:{place}"


if __name__ == "__main__":
    typer.run(main)
