"""How long a symbolic trace takes beside one concrete run of other counters, and what each of them answers.

Run as ``python -m bench.trace``. Every figure is taken in a process of its own, forked after imports and one warm-up,
so that no counter sees what another did to a model or to torch. Building a model is never part of a time.
"""

import contextlib
import importlib
import importlib.util
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree as pytree
from torch.utils.flop_counter import FlopCounterMode

from fxcost.analysis import Request, trace, trace_source
from fxcost.building import Source
from fxcost.inputs import InputSpec
from fxcost.sources import load_source

LONGEST_SECONDS = 90
"""A counter that takes longer is stopped, and its cell says so."""
MOST_PARAMETERS = 1_000_000_000
"""Models above are not run with real weights, which would take gigabytes."""
NARROWEST = 175
"""Columns that the table needs where the terminal does not say how wide it is."""

CONFIGURATIONS: Mapping[str, Mapping[str, Any]] = {
    "Llama-3-8B": {
        "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 8192,
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
SYMBOLIC = {"swin_t": "B"}
"""What Swin does depends on H and W in too many ways to keep; every other model keeps all that it can."""

Device = Literal["meta", "cpu"]
Unit = Literal["GMACs", "GFLOPs"]


@dataclass(frozen=True)
class Answer:
    """What a counter said of a model, and how long it took to say it."""

    count: float
    unit: Unit
    seconds: float
    device: Device

    def __str__(self) -> str:
        where = "" if self.device == "meta" else " on CPU"
        return f"{self.seconds:.2f} s{where}\n{self.count / 1e9:,.3f} {self.unit}"


class Positional(torch.nn.Module):
    """A model as one that takes tensors by position and gives tensors, which every counter can call."""

    def __init__(self, model: torch.nn.Module, names: tuple[str, ...], constants: Mapping[str, Any]) -> None:
        super().__init__()
        self.model, self.names, self.constants = model, names, dict(constants)

    def forward(self, *tensors: torch.Tensor, **named: torch.Tensor) -> list[torch.Tensor]:
        # Names beyond the keyword inputs are those of a vision model's one positional image.
        keywords = dict(zip(self.names, tensors, strict=False)) | {k: v for k, v in named.items() if k in self.names}
        images = () if self.names else (*tensors, *named.values())
        return pytree.tree_leaves(self.model(*images, **keywords, **self.constants))


# What each counter answers: from a fresh model and its inputs


def count_flop_counter_mode(model: Positional, inputs: Mapping[str, torch.Tensor]) -> tuple[float, Unit]:
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(*inputs.values())
    return counter.get_total_flops(), "GFLOPs"


def count_fvcore(model: Positional, inputs: Mapping[str, torch.Tensor]) -> tuple[float, Unit]:
    from fvcore.nn import FlopCountAnalysis

    return FlopCountAnalysis(model, tuple(inputs.values())).total(), "GFLOPs"


def count_thop(model: Positional, inputs: Mapping[str, torch.Tensor]) -> tuple[float, Unit]:
    from thop import profile

    return profile(model, tuple(inputs.values()), verbose=False)[0], "GMACs"


def count_ptflops(model: Positional, inputs: Mapping[str, torch.Tensor]) -> tuple[float, Unit]:
    from ptflops import get_model_complexity_info

    macs, _ = get_model_complexity_info(
        model, (1,), as_strings=False, print_per_layer_stat=False, input_constructor=lambda _: dict(inputs)
    )
    if macs is None:
        raise RuntimeError("its run of the model failed")
    return float(macs), "GMACs"


def count_calflops(model: Positional, inputs: Mapping[str, torch.Tensor]) -> tuple[float, Unit]:
    from calflops import calculate_flops

    flops, _, _ = calculate_flops(model, args=list(inputs.values()), print_results=False, output_as_string=False)
    return float(flops), "GFLOPs"


def count_torchinfo(model: Positional, inputs: Mapping[str, torch.Tensor]) -> tuple[float, Unit]:
    from torchinfo import summary

    device = next(iter(inputs.values())).device
    return summary(model, input_data=list(inputs.values()), verbose=0, device=device).total_mult_adds, "GMACs"


Counter = Callable[[Positional, Mapping[str, torch.Tensor]], tuple[float, Unit]]
OTHERS: Mapping[str, Counter] = {
    "fvcore": count_fvcore,
    "thop": count_thop,
    "ptflops": count_ptflops,
    "calflops": count_calflops,
    "torchinfo": count_torchinfo,
}
WRONG_ON_META = {"ptflops": "miscounts meta tensors"}
"""It counts calls of Python functions that torch's kernels for meta tensors, written in Python, make once more.

The others were seen to answer the same on both devices for every model here that has a CPU run.
"""


# Models and their inputs


def build(source: Source, device: Device) -> Positional:
    """The model of a source as other counters take it, with real weights when ``device`` is the CPU."""
    model: Any = with_weights(source) if device == "cpu" else source.module
    keywords = source.arguments.kwargs or {}
    if hasattr(model, "set_experts_implementation"):
        # Counters see matrix products, not the one operator that multiplies rows grouped by expert.
        model.set_experts_implementation("batched_mm")
    names = tuple(name for name, value in keywords.items() if isinstance(value, InputSpec))
    constants = {name: value for name, value in keywords.items() if name not in names}
    return Positional(model, names, constants).eval()


def with_weights(source: Source) -> torch.nn.Module:
    kind, _, name = source.ref.partition(":")
    if kind == "hf":
        family: Any = source.module
        return type(family)(family.config)
    from torchvision.models import get_model

    segments = {"weights_backbone": None, "aux_loss": True} if name.startswith("deeplab") else {}
    return get_model(name, weights=None, **segments)


def example_inputs(source: Source, device: Device) -> dict[str, torch.Tensor]:
    """Ones at the model's usual sizes, by input name."""
    found: dict[str, torch.Tensor] = {}
    for spec in source.arguments.specs():
        shape = [source.defaults[dim] if isinstance(dim, str) else dim for dim in spec.dims]
        dtype = getattr(torch, spec.dtype)
        if spec.name == "attention_mask" and device == "meta":
            # transformers looks into a mask of two dimensions, which a meta tensor has no values for.
            shape, dtype = [shape[0], 1, 1, shape[1]], torch.bool
        found[spec.name] = torch.ones(shape, dtype=dtype, device=device)
    return found


# Measuring, each in its own process


def measure_trace(source: Source, name: str) -> Answer:
    start = time.perf_counter()
    costs = trace_source(source, Request(SYMBOLIC.get(name)), warn=lambda _: None)
    seconds = time.perf_counter() - start
    return Answer(float(costs.at().total.macs), "GMACs", seconds, "meta")  # pyright: ignore[reportArgumentType]


def measure(counter: Counter, source: Source, device: Device) -> Answer:
    model, inputs = build(source, device), example_inputs(source, device)
    torch.backends.mha.set_fastpath_enabled(False)
    with torch.no_grad():
        start = time.perf_counter()
        count, unit = counter(model, inputs)
    return Answer(count, unit, time.perf_counter() - start, device)


def too_large(source: Source) -> bool:
    return source.module is not None and sum(p.numel() for p in source.module.parameters()) > MOST_PARAMETERS


def apart(work: Callable[[], Answer]) -> Answer | str:
    """The work's answer, or in a few words why there is none."""
    processes = multiprocessing.get_context("fork")
    receiver, sender = processes.Pipe(duplex=False)

    def run() -> None:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        try:
            sender.send(work())
        except Exception as error:
            sender.send(shortly(error))

    process = processes.Process(target=run)
    process.start()
    sender.close()
    in_time = receiver.poll(LONGEST_SECONDS)
    if not in_time:
        process.kill()
    try:
        return receiver.recv() if in_time else f"over {LONGEST_SECONDS} s"
    except EOFError:
        process.join()
        return f"crashed ({process.exitcode})"
    finally:
        process.join()


def shortly(error: Exception) -> str:
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {said}"[:70].removesuffix(": ")


def on_either_device(name: str, counter: Counter, source: Source) -> Answer | str:
    """On meta tensors when the counter can, else on the CPU."""
    if importlib.util.find_spec(name) is None:
        return "not installed"
    found = WRONG_ON_META.get(name) or apart(lambda: measure(counter, source, "meta"))
    if isinstance(found, Answer):
        return found
    if too_large(source):
        return f"needs weights\n({found})"
    return apart(lambda: measure(counter, source, "cpu"))


# The table


def bench(name: str, ref: str, say: Callable[[str], None]) -> tuple[list[str], float | None]:
    """One row, and how many concrete runs the trace took as long as."""
    source = load_source(ref)
    ours = apart(lambda: measure_trace(source, name))
    say(f"{name}: fxcost {shown(ours)}")
    torchs = apart(lambda: measure(count_flop_counter_mode, source, "meta"))
    ratio = ours.seconds / torchs.seconds if isinstance(ours, Answer) and isinstance(torchs, Answer) else None
    row = [name, str(ours), str(torchs), "no ratio" if ratio is None else f"{ratio:.1f}x"]
    for tool, counter in OTHERS.items():
        found = on_either_device(tool, counter, source)
        say(f"{name}: {tool} {shown(found)}")
        row.append(str(found))
    return row, ratio


def shown(found: Answer | str) -> str:
    return " ".join(str(found).split())


def warm_up() -> None:
    """Import every counter and use torch's parts once, which the first measurement would pay for alone."""
    for counter in ("fvcore.nn", *OTHERS):
        # One that is missing or broken says so in its own cells.
        with contextlib.suppress(Exception), contextlib.redirect_stdout(None):
            importlib.import_module(counter)
    trace(
        torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU()),
        inputs=("x: float32[B,3,H,W]",),
        at={"H": 8, "W": 8},
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
    errors, out = Console(stderr=True), Console()
    out.width = max(out.width, NARROWEST)
    table = Table("model", "fxcost, symbolic", "FlopCounterMode", "ratio", *OTHERS, show_lines=True)
    ratios: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            row, ratio = bench(name, reference(name, Path(folder)), lambda text: errors.print(text, markup=False))
            table.add_row(*row)
            ratios += [] if ratio is None else [ratio]
    median = f"median ratio {statistics.median(ratios):.1f}x; " if ratios else ""
    table.caption = f"{median}fvcore counts one multiply-add as one FLOP; seconds without building the model; batch 1"
    out.print(table, markup=False)


def reference(name: str, folder: Path) -> str:
    if name in VISION:
        return f"torchvision:{name}"
    place = folder / name
    place.mkdir()
    (place / "config.json").write_text(json.dumps(CONFIGURATIONS[name]))
    return f"hf:{place}"


if __name__ == "__main__":
    typer.run(main)
