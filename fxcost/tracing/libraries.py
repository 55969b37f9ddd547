"""Parts of torch's own library that look at data, change dtypes or compile, run so that what they do can be recorded."""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false, reportPrivateUsage=false
# Torch's modules are typed in part; this folder is the border that keeps them from the rest.

from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from typing import Any, NoReturn
from unittest import mock

import torch
from torch.distributions import Distribution
from torch.nn.attention import flex_attention

from fxcost.tracing.sizes import Refusal

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
        for name in ("grad", "backward"):
            settings.enter_context(mock.patch.object(torch.autograd, name, refuse_gradients))
        yield


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
