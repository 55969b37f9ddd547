"""Parts of torch's own library that look at data, change dtypes or compile, run so that what they do can be recorded."""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false, reportPrivateUsage=false
# Torch's modules are typed in part; this folder is the border that keeps them from the rest.

import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from typing import Any, NoReturn
from unittest import mock

import torch
from torch._higher_order_ops.out_dtype import OutDtypeOperator
from torch.distributions import Distribution
from torch.nn.attention import flex_attention

from fxcost.ops.kernels import LINEAR_DYNAMIC, LINSPACE
from fxcost.tracing.environment.answers import META
from fxcost.tracing.sizes.naming import Refusal

NOT_VALIDATED = "the arguments of probability distributions are not validated, which looks at their values"
NO_AUTOCAST = "autocast is not followed: dtypes are those of the weights and inputs"
FLEX = (
    "flex_attention is counted as attention over all pairs of positions, as torch's own counter has it: "
    "blocks that its mask would skip are counted, and its score_mod is not"
)


@contextmanager
def recordable(assume: Callable[[str], None]) -> Generator[None]:
    """Run torch's distributions unvalidated, its autocast idle, compiled functions as written, flex attention as attention.

    ``assume`` is told what of it a model used. Gradients that a model computes are refused by `Refusal`.
    """
    with ExitStack() as settings:
        settings.enter_context(_unvalidated(assume))
        settings.enter_context(_without_autocast(assume))
        settings.enter_context(torch.compiler.set_stance("force_eager"))
        settings.enter_context(_flex_as_attention(assume))
        settings.enter_context(_steps_kept())
        settings.enter_context(_with_open_weights())
        settings.enter_context(_integer_products())
        for name in ("grad", "backward"):
            settings.enter_context(mock.patch.object(torch.autograd, name, refuse_gradients))
        yield


@contextmanager
def _steps_kept() -> Generator[None]:
    """Keep sizes that are numbers of steps, which the operators take as plain numbers, and `divmod` of sizes."""

    def spaced(plain: Callable[..., Any]) -> Callable[..., Any]:
        def run(start: Any, end: Any, steps: Any, *others: Any, **named: Any) -> Any:
            if others or named.get("out") is not None or any(isinstance(each, torch.Tensor) for each in (start, end)):
                return plain(start, end, steps, *others, **named)
            return LINSPACE(steps, dtype=named.get("dtype") or torch.get_default_dtype())

        return run

    def divided(size: Any, other: Any) -> Any:
        return size // other, size % other

    with (
        mock.patch.multiple(torch, linspace=spaced(torch.linspace), logspace=spaced(torch.logspace)),
        mock.patch.object(torch.SymInt, "__divmod__", divided, create=True),
        mock.patch.object(torch.SymInt, "__rdivmod__", lambda size, other: divided(other, size), create=True),
    ):
        yield


@contextmanager
def _integer_products() -> Generator[None]:
    """Run products of int8 matrices that add up in int32 as a GPU does, by the operator that they become there."""
    plain = OutDtypeOperator.__call__

    def call(self: Any, operator: Any, dtype: torch.dtype, *args: Any) -> Any:
        whole = dtype == torch.int32 and all(
            each.dtype == torch.int8 for each in args if isinstance(each, torch.Tensor)
        )
        if operator is torch.ops.aten.mm.default and whole:
            return torch.ops.aten._int_mm.default(*args)
        return plain(self, operator, dtype, *args)

    with mock.patch.object(OutDtypeOperator, "__call__", call):
        yield


@contextmanager
def _with_open_weights() -> Generator[None]:
    """Run linear layers of ``quantize_dynamic`` with the weights that `without_memory` unpacks."""
    kind = dynamic_linear_class()
    if kind is None:
        yield
        return

    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        weight, bias = (self._parameters.get(name) for name in OPEN)
        return LINEAR_DYNAMIC(x, weight, bias)

    with mock.patch.object(kind, "forward", forward):
        yield


OPEN = ("open_weight", "open_bias")


def dynamic_linear_class() -> Any:
    """The class of linear layers of ``quantize_dynamic``, where any can have been made."""
    module = sys.modules.get("torch.ao.nn.quantized.dynamic.modules.linear")
    return module and module.Linear


def unpacked(layer: Any) -> dict[str, torch.nn.Parameter]:
    """The matrix and bias of a linear layer of ``quantize_dynamic``, without memory."""
    weight, bias = layer._packed_params._weight_bias()
    dtype = torch.int8 if layer._packed_params.dtype == torch.qint8 else torch.float16
    matrix = torch.empty(weight.shape, dtype=dtype, device=META)
    tensors = (matrix, None if bias is None else torch.empty(bias.shape, dtype=bias.dtype, device=META))
    return {
        name: torch.nn.Parameter(each, requires_grad=False)
        for name, each in zip(OPEN, tensors, strict=True)
        if each is not None
    }


def refuse_gradients(*_: Any, **__: Any) -> NoReturn:
    """Raise `Refusal` for derivatives that a model computes as it runs."""
    raise Refusal(
        "the model computes gradients in its forward, which are not recorded\n"
        "Count the submodule that does so as unknown with --leaf PATH"
    )


@contextmanager
def _unvalidated(assume: Callable[[str], None]) -> Generator[None]:
    plain = Distribution.__init__

    def made(self: Any, *shapes: Any, **named: Any) -> None:
        assume(NOT_VALIDATED)
        plain(self, *shapes[:2], **{**named, "validate_args": False})

    with mock.patch.object(Distribution, "_validate_args", False), mock.patch.object(Distribution, "__init__", made):
        yield


@contextmanager
def _without_autocast(assume: Callable[[str], None]) -> Generator[None]:
    def enter(self: Any) -> Any:
        if self._enabled:
            assume(NO_AUTOCAST)
        return self

    with mock.patch.multiple(torch.autocast, __enter__=enter, __exit__=lambda *_: None):
        yield


@contextmanager
def _flex_as_attention(assume: Callable[[str], None]) -> Generator[None]:
    def attend(query: Any, key: Any, value: Any, _score_mod: Any, _mask: Any, scale: Any, *_: Any) -> Any:
        assume(FLEX)
        result = torch.nn.functional.scaled_dot_product_attention(
            query, key, value, scale=scale, enable_gqa=query.shape[1] != key.shape[1]
        )
        of_rows = query.new_empty(query.shape[:-1], dtype=torch.float32)
        return result, of_rows, of_rows

    # As for debugging, the function is called and not compiled.
    with mock.patch.multiple(flex_attention, flex_attention_hop=attend, _FLEX_ATTENTION_DISABLE_COMPILE_DEBUG=True):
        yield
