"""Other counters of FLOPs and MACs, each run on a model as its users run it, in a process of its own."""

# pyright: reportMissingTypeStubs=false, reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportMissingImports=false, reportUnknownArgumentType=false, reportUnknownLambdaType=false
# The counters are installed by the extra `verify`, and none of them is typed.

import multiprocessing
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal, TypeVar

import torch
from torch.utils import _pytree as pytree

from fxcost.errors import FxcostError
from fxcost.inputs import NUMBER, Arguments, InputSpec
from fxcost.tracing.source import Source

Device = Literal["meta", "cpu"]
CountedIn = Literal["MACs", "FLOPs"]
ExampleInputs = Mapping[str, torch.Tensor]
Reply = TypeVar("Reply")

MOST_PARAMETERS = 1_000_000_000
"""Models above are not run with real weights, which would take gigabytes."""


class Positional(torch.nn.Module):
    """A model as one that takes tensors by position, or by their names, and gives tensors, which every counter can call."""

    def __init__(self, model: torch.nn.Module, arguments: Arguments, sizes: Mapping[str, int]) -> None:
        super().__init__()
        self.model = model
        given = (arguments.args, dict(arguments.kwargs or {}))
        self.leaves, self.structure = pytree.tree_flatten(given)
        self.leaves = [
            leaf.number(sizes) if isinstance(leaf, InputSpec) and leaf.dtype == NUMBER else leaf for leaf in self.leaves
        ]
        self.names = [leaf.name for leaf in self.leaves if isinstance(leaf, InputSpec)]

    def forward(self, *tensors: torch.Tensor, **named: torch.Tensor) -> list[torch.Tensor]:
        places = (name for name in self.names if name not in named)
        values = {**named, **dict(zip(places, tensors, strict=True))}
        filled = [values[leaf.name] if isinstance(leaf, InputSpec) else leaf for leaf in self.leaves]
        args, kwargs = pytree.tree_unflatten(filled, self.structure)
        leaves = pytree.tree_leaves(self.model(*args, **kwargs))
        return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]


def callable_by_position(source: Source, sizes: Mapping[str, int], device: Device) -> Positional:
    """The model of a source as counters take it, in evaluation mode, its inputs of these sizes.

    Changes the source's own module: do it in a process of its own.
    """
    model: Any = source.module
    if hasattr(model, "set_experts_implementation"):
        # Counters see matrix products, not the one operator that multiplies rows grouped by expert.
        model.set_experts_implementation("batched_mm")
    return Positional(model, source.arguments, sizes).eval().to(device)


def example_inputs(source: Source, sizes: Mapping[str, int], device: Device) -> dict[str, torch.Tensor]:
    """Ones at these sizes, by input name, positional ones first."""
    found: dict[str, torch.Tensor] = {}
    for spec in source.arguments.specs():
        shape = spec.shape(sizes)
        dtype = getattr(torch, spec.dtype)
        if spec.name == "attention_mask" and device == "meta":
            # transformers looks into a mask of two dimensions, which a meta tensor has no values for.
            shape, dtype = [shape[0], 1, 1, shape[1]], torch.bool
        value = 1 if spec.value is None else spec.number(sizes)
        found[spec.name] = torch.full(shape, value, dtype=dtype, device=device)
    return found


# What each counter answers: from a fresh model and its inputs


def count_fvcore(model: torch.nn.Module, inputs: ExampleInputs) -> float:
    from fvcore.nn import FlopCountAnalysis

    return FlopCountAnalysis(model, tuple(inputs.values())).total()


def count_thop(model: torch.nn.Module, inputs: ExampleInputs) -> float:
    from thop import profile

    return profile(model, tuple(inputs.values()), verbose=False)[0]


def count_ptflops(model: torch.nn.Module, inputs: ExampleInputs) -> float:
    from ptflops import get_model_complexity_info

    macs, _ = get_model_complexity_info(
        model, (1,), as_strings=False, print_per_layer_stat=False, input_constructor=lambda _: dict(inputs)
    )
    if macs is None:
        raise RuntimeError("its run of the model failed")
    return float(macs)


def count_calflops(model: torch.nn.Module, inputs: ExampleInputs) -> float:
    from calflops import calculate_flops

    flops, _, _ = calculate_flops(model, args=list(inputs.values()), print_results=False, output_as_string=False)
    return float(flops)


def count_deepspeed(model: torch.nn.Module, inputs: ExampleInputs) -> float:
    from deepspeed.profiling.flops_profiler import get_model_profile

    flops, _, _ = get_model_profile(model, args=list(inputs.values()), warm_up=0, print_profile=False, as_string=False)
    return float(flops)


def count_torchinfo(model: torch.nn.Module, inputs: ExampleInputs) -> float:
    from torchinfo import summary

    device = next(iter(inputs.values())).device
    return summary(model, input_data=list(inputs.values()), verbose=0, device=device).total_mult_adds


@dataclass(frozen=True)
class Counter:
    """One counter, and in which unit its total is."""

    name: str
    run: Callable[[torch.nn.Module, ExampleInputs], float]
    unit: CountedIn
    wrong_on_meta: str = ""
    """Why meta tensors are not given to it."""

    @property
    def is_installed(self) -> bool:
        return find_spec(self.name) is not None


MISCOUNTS = "miscounts meta tensors"
"""Counters of calls of Python functions: torch's kernels for meta tensors, written in Python, make some once more."""
COUNTERS = (
    Counter("fvcore", count_fvcore, "MACs"),
    Counter("thop", count_thop, "MACs"),
    Counter("ptflops", count_ptflops, "MACs", MISCOUNTS),
    Counter("calflops", count_calflops, "FLOPs"),
    Counter("deepspeed", count_deepspeed, "FLOPs", MISCOUNTS),
    Counter("torchinfo", count_torchinfo, "MACs"),
)
"""All but torch's own, of `torch_counter`; what fvcore calls FLOPs are multiply-adds."""


def too_large(source: Source) -> bool:
    """Whether the model has too many parameters to be given real weights."""
    return source.module is not None and sum(p.numel() for p in source.module.parameters()) > MOST_PARAMETERS


def apart(work: Callable[[], Reply], longest: float) -> Reply | str:
    """The work's answer from a forked process, silenced; or in a few words why there is none."""
    if "fork" not in multiprocessing.get_all_start_methods():
        raise FxcostError("counters run in forked processes, which this system lacks; use Linux or macOS")
    processes = multiprocessing.get_context("fork")
    receiver, sender = processes.Pipe(duplex=False)

    def run() -> None:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        try:
            sender.send(work())
        except Exception as error:  # noqa: BLE001  # told in the counter's own line
            sender.send(shortly(error))

    process = processes.Process(target=run)
    process.start()
    sender.close()
    in_time = receiver.poll(longest)
    if not in_time:
        process.kill()
    try:
        return receiver.recv() if in_time else f"over {longest:g} s"
    except EOFError:
        process.join()
        return f"crashed ({process.exitcode})"
    finally:
        process.join()


def shortly(error: Exception) -> str:
    """An error in a few words."""
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {said}"[:70].removesuffix(": ")
