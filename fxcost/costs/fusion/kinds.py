"""What fusion sees in an operation: whether it is an expression over what it reads, or a kernel that stands alone."""

from typing import Literal

from fxcost.costs.graph.cost_graph import CostGraph, Edges
from fxcost.costs.model import LayerCost, operator_name

FusionKind = Literal[
    "pointwise", "copy", "gather", "pooling", "reduction", "normalization", "concatenation", "contraction", "kernel"
]
"""``contraction``: products and attention. ``kernel``: whatever nothing joins, such as sorts and scatters."""

GATHERS = frozenset(
    [
        "embedding",
        "index",
        "index_select",
        "gather",
        "take",
        "take_along_dim",
        "grid_sampler",
        "grid_sampler_2d",
        "grid_sampler_3d",
    ]
)
POOLINGS = frozenset(
    f"{name}_pool{dims}d{end}"
    for name in ("avg", "max", "adaptive_avg", "adaptive_max", "_adaptive_avg")
    for dims in (1, 2, 3)
    for end in ("", "_with_indices")
)
REDUCTIONS = frozenset(
    [
        "sum",
        "mean",
        "amax",
        "amin",
        "max",
        "min",
        "prod",
        "all",
        "any",
        "argmax",
        "argmin",
        "std",
        "std_mean",
        "var",
        "var_mean",
        "nansum",
        "nanmean",
        "norm",
        "linalg_norm",
        "linalg_vector_norm",
        "logsumexp",
        "count_nonzero",
        "aminmax",
        "choose_qparams",
        "choose_qparams_symmetric",
        "choose_qparams_affine",
    ]
)
NORMALIZATIONS = frozenset(
    [
        "softmax",
        "log_softmax",
        "_softmax",
        "_log_softmax",
        "_safe_softmax",
        "layer_norm",
        "native_layer_norm",
        "group_norm",
        "native_group_norm",
        "rms_norm",
        "_fused_rms_norm",
        "instance_norm",
        "batch_norm",
        "native_batch_norm",
        "_native_batch_norm_legit",
        "normalize",
    ]
)
BATCH_NORMS = frozenset(
    [
        "batch_norm",
        "_native_batch_norm_legit_no_training",
        "cudnn_batch_norm",
        "native_batch_norm",
        "_native_batch_norm_legit",
    ]
)
CONCATENATIONS = frozenset(["cat", "concat", "concatenate", "stack", "hstack", "vstack", "dstack", "column_stack"])
ALONE = frozenset(
    [
        "sort",
        "argsort",
        "topk",
        "kthvalue",
        "median",
        "nanmedian",
        "mode",
        "msort",
        "bucketize",
        "searchsorted",
        "multinomial",
        "cumsum",
        "cumprod",
        "cummax",
        "cummin",
        "logcumsumexp",
        "scatter",
        "scatter_add",
        "scatter_reduce",
        "index_add",
        "index_copy",
        "index_fill",
        "index_put",
        "_index_put_impl",
        "_unsafe_index_put",
        "masked_scatter",
        "slice_scatter",
        "select_scatter",
        "diagonal_scatter",
        "as_strided_scatter",
        "bincount",
        "histc",
        "unique",
        "nonzero",
        "col2im",
        "im2col",
        "embedding_bag",
        "_embedding_bag",
        "cdist",
        "_cdist_forward",
    ]
)
EXPRESSIONS = ("aten.", "quantized_decomposed.", "torchao.")
"""Where the operators are from that compilers take apart, if they have a rule here."""
HEAVY = frozenset(
    [
        "exp",
        "exp2",
        "expm1",
        "log",
        "log2",
        "log10",
        "log1p",
        "sigmoid",
        "tanh",
        "silu",
        "softmax",
        "log_softmax",
        "softplus",
        "mish",
        "logsigmoid",
        "erf",
        "log_sigmoid",
        "celu",
        "elu",
        "selu",
        "sinh",
        "cosh",
        "special_expit",
        "logit",
    ]
)
"""Their values take long to work out again."""
TWICE_READ = frozenset(
    ["silu", "gelu", "hardswish", "mish", "softplus", "elu", "celu", "selu", "hardsigmoid", "leaky_relu"]
)
"""Expressions that read their input in two places."""


def base_name(layer: LayerCost) -> str:
    """``relu`` for ``aten.relu_.default``."""
    name = operator_name(layer.op)
    return name if name.startswith("__") else name.rstrip("_") or name


def kind_of(layer: LayerCost, graph: CostGraph) -> FusionKind:
    """What fusion sees in a layer."""
    name = base_name(layer)
    if layer.coverage != "counted" or not layer.op.startswith(EXPRESSIONS) or name in ALONE or not layer.edges.outputs:
        return "contraction" if layer.cost.matrix != 0 else "kernel"
    if layer.cost.matrix != 0:
        return "contraction"
    if name in CONCATENATIONS:
        return "concatenation"
    if name in BATCH_NORMS and any(argument == "running_mean" for argument, _ in layer.edges.inputs):
        return "pointwise"
    if name in NORMALIZATIONS:
        return "normalization"
    if len(layer.edges.outputs) != 1 and name not in REDUCTIONS:
        return "kernel"
    if name in POOLINGS:
        return "reduction" if _is_global(layer.edges, graph) else "pooling"
    if name in REDUCTIONS and len(layer.edges.inputs) == 1:  # a maximum of two tensors is none
        return "reduction"
    if name in GATHERS:
        return "gather"
    return "pointwise" if layer.cost.vector != 0 else "copy"


def _is_global(edges: Edges, graph: CostGraph) -> bool:
    return all(size == 1 for size in graph.tensors[edges.outputs[0]].shape[2:])
