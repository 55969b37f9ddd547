"""What Inductor's scheduler counts of a model's kernels on a CPU: ``python -m bench.inductor NAME BATCH [CONFIG]``.

It is stopped after fusion, before any code is made.
"""

import json
import sys
from typing import Any

import torch
from torch._inductor import config
from torch._inductor.graph import GraphLowering
from torch._inductor.scheduler import ExternKernelSchedulerNode

from fxcost.models.references import load_source

TOKENS = 128


class _Counted(Exception):  # no fault: it ends a compilation that has told what it is asked for
    pass


def kernels(
    model: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> list[tuple[bool, dict[str, int], dict[str, list[int]]]]:
    """Of each kernel: whether it is a library's, the bytes of each buffer, and the shapes of those that are given."""
    found: list[tuple[bool, dict[str, int], dict[str, list[int]]]] = []

    def counted(graph: Any) -> None:
        graph.init_wrapper_code()
        graph._update_scheduler()
        for node in graph.scheduler.nodes:
            moved = node.get_read_write_buffer_accesses(include_reads=True, include_writes=True)
            given = {n: list(map(int, graph.graph_inputs[n].get_size())) for n in moved if n in graph.graph_inputs}
            found.append((isinstance(node, ExternKernelSchedulerNode), moved, given))
        raise _Counted

    lowering: Any = GraphLowering
    lowering.codegen = lowering.codegen_with_cpp_wrapper = counted
    try:
        with torch.no_grad():
            torch.compile(model, dynamic=False)(*args, **kwargs)
    except Exception:
        if not found:
            raise
    return found


def _rows_picked(model: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[tuple[int, ...], int]:
    """Bytes of the rows that a call looks up in embedding tables, by the shape of the table."""
    picked: dict[tuple[int, ...], int] = {}

    def looked_up(table: Any, given: tuple[torch.Tensor, ...]) -> None:
        shape = tuple(table.weight.shape)
        picked[shape] = max(picked.get(shape, 0), given[0].numel() * int(shape[1]) * 4)

    hooks = [e.register_forward_pre_hook(looked_up) for e in model.modules() if isinstance(e, torch.nn.Embedding)]
    if hooks:
        with torch.no_grad():
            model(*args, **kwargs)
    for hook in hooks:
        hook.remove()
    return picked


def corrected(moved: dict[str, int], given: dict[str, list[int]], tables: dict[tuple[int, ...], int]) -> int:
    """Bytes of a kernel, an embedding table at the rows that are picked."""
    return sum(min(n, tables.get(tuple(given.get(name, ())), n)) for name, n in moved.items())


def main(name: str, batch: int, configuration: str = "") -> None:
    """Print bytes and kernels as JSON."""
    config.layout_optimization, config.force_disable_caches = False, True
    source = load_source(configuration or name)
    module = source.module
    assert module is not None
    module.eval()
    if configuration:
        args, kwargs = (), {"input_ids": torch.zeros(batch, TOKENS, dtype=torch.long)}
    else:
        sizes = {**source.defaults, "B": batch}
        (spec,) = source.arguments.specs()
        args, kwargs = (torch.zeros(spec.shape(sizes)),), {}
    real = module.to_empty(device="cpu")
    with torch.no_grad():
        for each in (*real.parameters(), *real.buffers()):
            each.zero_()
    tables = _rows_picked(real, args, kwargs)
    found = kernels(real, args, kwargs)
    moved = sum(sum(m.values()) if library else corrected(m, given, tables) for library, m, given in found)
    print(json.dumps({"moved": moved, "kernels": sum(any(m.values()) for _, m, _ in found)}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
