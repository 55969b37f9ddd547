"""Bytes that kernels move under ``pointwise``, beside what Inductor counts of its own kernels on a CPU.

Run as ``python -m bench.fusion [-o docs/accuracy.md]``. Inductor's count is its scheduler's, after fusion and before
any code is made, with ``layout_optimization=False``. It counts an embedding table whole in every kernel that looks rows
up in it; here such a kernel is given the rows that are picked. Each model is compiled in a process of its own.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import typer

from bench.inductor import TOKENS
from fxcost.costs.analysis import Request, trace_source
from fxcost.costs.fusion.kernels import Inlining
from fxcost.costs.fusion.merging import Merging
from fxcost.costs.fusion.rules import COMPILED, COMPILED_FOR_CPU, FusionRules
from fxcost.costs.model import CostModel
from fxcost.files import write_file
from fxcost.formulas.evaluation import evaluate
from fxcost.formulas.quantities import DTYPE_BITS
from fxcost.machines.sheets import load_platform
from fxcost.models.references import load_source
from fxcost.roofline.bound import seconds_by_fusion
from fxcost.roofline.rate import machine_for

BATCHES = (2, 4)
VISION = (
    "resnet18", "resnet50", "resnext50_32x4d", "vgg11", "mobilenet_v2", "mobilenet_v3_small", "mnasnet0_5",
    "efficientnet_b0", "regnet_y_400mf", "squeezenet1_0", "googlenet", "inception_v3", "shufflenet_v2_x0_5",
    "densenet121", "convnext_tiny", "vit_b_16", "swin_t",
)  # fmt: skip
LLAMA = {
    "hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 2, "num_attention_heads": 8, "vocab_size": 8000, "num_key_value_heads": 8,
}  # fmt: skip
GPT = {
    "n_layer": 2,
    "n_embd": 512,
    "n_head": 8,
    "vocab_size": 8000,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "use_cache": False,
}
BERT = {
    "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 2, "num_attention_heads": 8, "vocab_size": 8000,
}  # fmt: skip
OPT = {"hidden_size": 512, "word_embed_proj_dim": 512, "ffn_dim": 2048, "num_hidden_layers": 2, "vocab_size": 8000}
TEXT: Mapping[str, Mapping[str, Any]] = {
    "llama": LLAMA,
    "qwen2": LLAMA,
    "gpt2": GPT,
    "opt": {**OPT, "num_attention_heads": 8},
    "bert": BERT,
    "distilbert": {"dim": 512, "hidden_dim": 2048, "n_layers": 2, "n_heads": 8, "vocab_size": 8000},
}
"""Small configurations, of the architectures of `transformers`."""
ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "gpt2": "GPT2LMHeadModel",
    "opt": "OPTForCausalLM",
    "bert": "BertModel",
    "distilbert": "DistilBertModel",
}
DIFFERS = {
    "swin_t": "norms over permuted windows read their input once or twice more on a CPU",
}
"""Kernels that differ by more than 3 %, as a reader of both lists finds them."""
CLOSE = 0.03


@dataclass(frozen=True)
class Counted:
    """Bytes that a model's kernels move, and how many there are."""

    moved: float
    kernels: int


def main(output: Path | None = typer.Option(None, "-o")) -> None:  # noqa: B008  # how typer takes options
    """Print the table, and write it into a file where one is named."""
    rows: list[str] = []
    worst = 0.0
    for name in (*VISION, *TEXT):
        for batch in BATCHES:
            row, ratio = _row(name, batch)
            if name not in DIFFERS:
                worst = max(worst, abs(ratio - 1))
            rows.append(row)
            print(row, flush=True)
    print(f"furthest of those that are not named: {worst:.2%}")
    times = list(_times())
    print("\n".join(times))
    if output is not None:
        write_file(output, (HEAD + "\n".join(rows) + "\n" + TIMES + "\n".join(times) + "\n").encode())
    if worst > CLOSE:
        raise typer.Exit(1)


HEAD = """# Accuracy

What is told of kernels and times, beside what others count and measure. `make check-fusion` writes this file.

## Fused bytes against Inductor's count

Bytes that the kernels of `pointwise` move at float32, with the rules of a CPU's loops added, beside the byte count of
Inductor's own scheduler on a CPU (torch 2.13, `layout_optimization=False`, embedding tables at the rows picked); kernels
of both; and the bytes without the CPU's rules, which is what `--fusion pointwise` tells.

| model | batch | Inductor MB | with a CPU's rules MB | ratio | kernels | Inductor's kernels | pointwise MB | differs by |
|---|--:|--:|--:|--:|--:|--:|--:|---|
"""


TIMES = """
## Four roofline times of ResNet-50 beside published ones

Milliseconds at 224 pixels and datasheet peaks; published: TensorRT 10.9 on an L4, batch not stated (Embedl deployment
documentation, benchmark page). Only the bound is never beaten; no bound lies above any of the 75 measurements of
`tests/data/measured/resnet50.csv` (`tests/fusion/test_measured_times.py`).

| machine | precision | batch | none | pointwise | epilogue | bound | published |
|---|---|--:|--:|--:|--:|--:|--:|
"""
PUBLISHED = {("l4", "fp16", 1): "0.267", ("l4", "int8", 1): "0.22"}


def _times() -> Iterator[str]:
    costs = trace_source(load_source("resnet50"), Request(), warn=lambda _: None)
    for name, precision, batch in product(("l4", "a100-sxm4-80gb", "h100-sxm5-80gb"), ("fp16", "int8"), (1, 128)):
        machine = machine_for(costs, load_platform(name), precision)
        seconds = seconds_by_fusion(costs, machine, {"B": batch})
        told = [f"{float(each * 1000):.3g}" for each in seconds.values()]
        yield f"| {name} | {precision} | {batch} | {' | '.join(told)} | {PUBLISHED.get((name, precision, batch), '')} |"


def _row(name: str, batch: int) -> tuple[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        given = [_configured(name, Path(folder))] if name in TEXT else []
        referee = json.loads(_ran(name, batch, *given))
        costs = trace_source(load_source(given[0] if given else name), Request(), warn=lambda _: None)
    ours, rule = (_counted(costs, batch, rules) for rules in (COMPILED_FOR_CPU, COMPILED))
    ratio = ours.moved / referee["moved"]
    told = [referee["moved"] / 1e6, ours.moved / 1e6]
    cells = [name, str(batch), *(f"{each:,.2f}" for each in told), f"{ratio:.4f}", str(ours.kernels)]
    cells += [str(referee["kernels"]), f"{rule.moved / 1e6:,.2f}", DIFFERS.get(name, "")]
    return f"| {' | '.join(cells)} |", ratio


def _configured(name: str, folder: Path) -> str:
    """The reference of a small configuration."""
    file = folder / f"{name}.json"
    file.write_text(json.dumps({"model_type": name, "architectures": [ARCHITECTURES[name]], **TEXT[name]}))
    return f"hf:{file}"


def _ran(*words: object) -> str:
    """What Inductor counts, in a process of its own."""
    command = [sys.executable, "-m", "bench.inductor", *map(str, words)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]


def _counted(costs: CostModel, batch: int, rules: FusionRules) -> Counted:
    """What the kernels that these rules make move at the model's usual sizes."""
    assert costs.graph is not None
    layers = costs.used_layers
    sizes = {"B": batch, **({"S": TOKENS} if "S" in costs.symbols else {})}
    point = costs.point(sizes)
    merging = Merging(Inlining(layers, costs.graph, rules))
    inlining = merging.inlining
    moved = 0.0
    kernels = [group for group, merged in enumerate(merging.groups) if merged.members]
    for group in kernels:
        for amounts in merging.moves(group):
            for tensor, amount in amounts.items():
                dtype = costs.graph.tensors[inlining.stands_for.get(tensor, tensor)].dtype
                moved += float(evaluate(amount, point)) * DTYPE_BITS[dtype] / 8
    return Counted(moved, len(kernels))


if __name__ == "__main__":
    typer.run(main)
