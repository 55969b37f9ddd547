"""Shapes of what some operators give, where torch's own functions for them take long, or unroll a loop over time."""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false
# Operators take tensors and plain values of any type.

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from fxcost.tracing.environment.answers import META
from fxcost.tracing.environment.known_values import known_of
from fxcost.tracing.recording.views import VIEWS
from fxcost.tracing.sizes.tensors import plain_size

aten = torch.ops.aten


def _normalized(input: torch.Tensor, *channels: Any) -> torch.Tensor:
    """Of weights and statistics by channel: that their number is that of the channels holds the size fixed."""
    for each in channels:
        if isinstance(each, torch.Tensor) and each.shape[0] != input.shape[1]:
            raise RuntimeError(f"a batch norm of {each.shape[0]} channels is given {input.shape[1]}")
    return _like_input(input)


def _normalized_rows(input: torch.Tensor, sizes: Sequence[int], *_: Any) -> torch.Tensor:
    if any(one != other for one, other in zip(input.shape[-len(sizes) :], sizes, strict=True)):
        raise RuntimeError(f"a layer norm over {list(sizes)} is given a tensor of {list(input.shape)}")
    return torch.empty(input.shape, dtype=input.dtype, device=META)


def _normalized_groups(input: torch.Tensor, groups: int, *others: Any, **named: Any) -> torch.Tensor:
    channels = input.shape[1] if input.dim() > 1 else None
    fits = isinstance(channels, int) and channels % groups == 0 and input.is_contiguous()
    if not fits or any(isinstance(each, torch.Tensor) and tuple(each.shape) != (channels,) for each in others):
        return aten.group_norm.default(input, groups, *others, **named)
    return _like_input(input)


def _like_input(input: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    if input.is_contiguous():
        return torch.empty_strided(input.shape, input.stride(), dtype=input.dtype, device=META)
    return torch.empty_like(input)


def _itself(input: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    return input


def _recurrent(
    input: torch.Tensor,
    state: Any,
    _weights: Any,
    _biases: bool,
    _layers: int,
    _dropout: float,
    _train: bool,
    bidirectional: bool,
    batch_first: bool = False,
) -> Any:
    """The output and the last states, of which an LSTM has two: hidden, as wide as the output, and cell."""
    states: tuple[torch.Tensor, ...] = tuple(state) if isinstance(state, (tuple, list)) else (state,)
    width = states[0].shape[-1] * (2 if bidirectional else 1)
    if batch_first:  # the kernel works with time first and hands back a transposed view
        batch, time = input.shape[:2]
        output = input.new_empty((time, batch, width)).transpose(0, 1)
    else:
        output = input.new_empty((*input.shape[:-1], width))
    return output, *(torch.empty_like(each) for each in states)


def _linear(input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    fits = input.dim() > 0 and weight.dim() == 2 and _sizes(input)[-1:] == _sizes(weight)[1:]
    if not fits or (bias is not None and bias.shape != weight.shape[:1]):
        return aten.linear.default(input, weight, bias)
    return torch.empty((*input.shape[:-1], weight.shape[0]), dtype=input.dtype, device=META)


def _of_each(operator: Any) -> Callable[..., Any]:
    """For an operator that gives a number for each of its input's."""

    def shape(input: torch.Tensor, *others: Any, **named: Any) -> torch.Tensor:
        return _like_input(input) if input.dtype.is_floating_point else operator(input, *others, **named)

    return shape


def _of_pairs(operator: Any) -> Callable[..., Any]:
    """For an operator that gives a number for each pair of its two inputs', each of which may be repeated along others."""

    def shape(input: torch.Tensor, other: Any, **named: Any) -> torch.Tensor:
        alike = isinstance(other, torch.Tensor) and (input.dim(), input.dtype) == (other.dim(), other.dtype)
        if not alike or not input.dtype.is_floating_point:
            return operator(input, other, **named)
        sizes = list(zip(_sizes(input), _sizes(other), input.shape, other.shape, strict=True))
        fits = all(one == two or 1 in (one, two) for one, two, _, _ in sizes)
        if not fits or not input.is_contiguous() or not other.is_contiguous():
            return operator(input, other, **named)
        return torch.empty([b if one == 1 else a for one, _, a, b in sizes], dtype=input.dtype, device=META)

    return shape


def _packed(input: torch.Tensor, lengths: torch.Tensor, batch_first: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """The steps of all sequences, and how many sequences reach each step."""
    known = known_of(lengths)
    if known is None:
        raise RuntimeError("sequences are packed by lengths that are data, of which meta tensors have none")
    batch = input.shape[0 if batch_first else 1]
    if known.each is None:
        longest: Any = known.every
        steps: Any = batch * longest
    elif known.each.shape[0] == batch:
        steps, longest = sum(known.likeness), max(known.likeness)
    else:
        raise RuntimeError(f"a batch of {batch} is packed by {known.each.shape[0]} lengths")
    if longest > input.shape[1 if batch_first else 0]:
        raise RuntimeError(
            f"sequences of {input.shape[1 if batch_first else 0]} steps are packed by a length of {longest}"
        )
    rows = torch.empty((steps, *input.shape[2:]), dtype=input.dtype, device=META)
    return rows, torch.empty((longest,), dtype=torch.int64, device=META)


def _unpacked(
    data: torch.Tensor, sizes: torch.Tensor, batch_first: bool, _padding: float, longest: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """The sequences side by side, and how long each is."""
    known = known_of(sizes)
    if known is None:
        raise RuntimeError("sequences are unpacked by lengths that are data, of which meta tensors have none")
    batch = known.every if known.each is None else known.likeness[0]
    time: Any = torch.sym_max(longest, sizes.shape[0])
    lengths = torch.empty((batch,), dtype=torch.int64, device=META)
    shape = (batch, time) if batch_first else (time, batch)
    return torch.empty((*shape, *data.shape[1:]), dtype=data.dtype, device=META), lengths


def _recurrent_packed(rows: torch.Tensor, _sizes: torch.Tensor, *others: Any) -> Any:
    """Of sequences that are packed, whose steps lie one after another as time does."""
    return _recurrent(rows, *others)


def _repeated(
    input: torch.Tensor, repeats: torch.Tensor, dim: int | None = None, *, output_size: Any = None
) -> torch.Tensor:
    """Each row as often as numbers say that are known."""
    known = known_of(repeats)
    if known is None:
        return aten.repeat_interleave.self_Tensor(input, repeats, dim, output_size=output_size)
    rows = input if dim is not None else input.flatten()
    place = (dim or 0) % rows.dim()
    single = known.each is None or known.each.numel() == 1
    times = known.every if known.each is None else known.likeness[0]
    count = rows.shape[place] * times if single else sum(known.likeness)
    return torch.empty((*rows.shape[:place], count, *rows.shape[place + 1 :]), dtype=input.dtype, device=META)


def _attended(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None = None,
    dropout: float = 0.0,
    is_causal: bool = False,
    **named: Any,
) -> torch.Tensor:
    """What fused kernels give, on the CPU as elsewhere: the heads of one position beside each other, seen as ``[B, heads, S, size]``."""
    if query.dim() == 4 and not (mask is not None and is_causal) and _fit(query, key, value, mask, **named):
        batch, heads, length, size = *query.shape[:3], value.shape[3]
    else:
        result = aten.scaled_dot_product_attention.default(query, key, value, mask, dropout, is_causal, **named)
        if result.dim() != 4:
            return result
        batch, heads, length, size = result.shape
    return torch.empty((batch, length, heads, size), dtype=query.dtype, device=META).transpose(1, 2)


def _fit(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: Any, *, enable_gqa: bool = False, **_: Any
) -> bool:
    """Whether sizes of attention are seen to fit together; where not, torch is asked."""
    if not query.dtype == key.dtype == value.dtype or not key.dim() == value.dim() == 4:
        return False
    batch, heads, length, size = _sizes(query)
    of_keys = _sizes(key)
    if (*of_keys[:3], size) != (*_sizes(value)[:3], of_keys[3]) or of_keys[0] != batch:
        return False
    shared = enable_gqa and isinstance(heads, int) and isinstance(of_keys[1], int) and heads % of_keys[1] == 0
    if of_keys[1] != heads and not shared:
        return False
    if mask is None:
        return True
    wanted = (batch, heads, length, of_keys[2])[-mask.dim() :]
    known = mask.dtype in (torch.bool, query.dtype) and 2 <= mask.dim() <= 4
    return known and all(one in (1, other) for one, other in zip(_sizes(mask), wanted, strict=True))


def _sizes(tensor: torch.Tensor) -> tuple[Any, ...]:
    """What stands behind the sizes of a tensor, which are compared without a question to torch."""
    return tuple(map(plain_size, tensor.shape))


def _unbound(input: torch.Tensor, dim: int = 0) -> list[torch.Tensor]:
    """As many tensors as there are places, which holds their number."""
    return [aten.select.int(input, dim, place) for place in range(int(input.shape[dim]))]


def _dropped(input: torch.Tensor, probability: float, train: bool) -> torch.Tensor:
    """The input itself outside training, as kernels with memory hand it back."""
    return torch.empty_like(input) if train and probability else input


def _grouped(rows: torch.Tensor, matrices: torch.Tensor, offsets: Any = None, bias: Any = None, out: Any = None) -> Any:
    """Rows sent each to one of several matrices, in any dtype that kernels with memory take; other forms are torch's."""
    if (rows.dim(), matrices.dim()) != (2, 3):
        return aten._grouped_mm.default(rows, matrices, offsets, bias, out)
    if rows.shape[1] != matrices.shape[1]:
        raise RuntimeError(f"rows of {rows.shape[1]} are given to matrices of {matrices.shape[1]} rows")
    return rows.new_empty((rows.shape[0], matrices.shape[2]), dtype=out or rows.dtype)


def _distances(one: torch.Tensor, other: torch.Tensor, *others: Any, **named: Any) -> torch.Tensor:
    """One for each row of the first with each of the second; torch's own function asks how many there are to pick a kernel."""
    rows, columns = (_sizes(each)[:-2] for each in (one, other))
    if one.shape[-1] != other.shape[-1] or (rows and columns and rows != columns):
        return aten.cdist.default(one, other, *others, **named)
    batch = one.shape[:-2] if rows else other.shape[:-2]
    return one.new_empty((*batch, one.shape[-2], other.shape[-2]))


NO_REDUCTION = 0
"""torch's number for losses that are given for each target."""


def _of_classes(
    input: torch.Tensor, target: torch.Tensor, _weight: Any = None, reduction: int = 1, *_: Any
) -> torch.Tensor:
    """A loss of scores of classes: one for each target. Torch's own function takes how many there are for a number."""
    places = (*input.shape[:1], *input.shape[2:]) if input.dim() > 1 else ()
    of_each = target.shape if target.dim() < input.dim() else places
    expected = places if target.dim() < input.dim() else input.shape
    if len(target.shape) != len(expected) or any(a != b for a, b in zip(target.shape, expected, strict=True)):
        raise RuntimeError(f"scores of classes {list(input.shape)} are given targets of {list(target.shape)}")
    return input.new_empty(of_each if reduction == NO_REDUCTION else ())


def _hinged(input: torch.Tensor, target: torch.Tensor, _margin: float = 1.0, reduction: int = 1) -> torch.Tensor:
    """Torch's own function takes the name of a reduction, and is called with its number; so that of the next."""
    met = input + target
    return met if reduction == NO_REDUCTION else met.sum()


def _ranked(
    one: torch.Tensor, other: torch.Tensor, target: torch.Tensor, _margin: float = 0.0, reduction: int = 1
) -> torch.Tensor:
    return _hinged(one + other, target, reduction=reduction)


SHAPES: Mapping[Any, Callable[..., Any]] = {
    aten.batch_norm.default: _normalized,
    aten.layer_norm.default: _normalized_rows,
    aten.group_norm.default: _normalized_groups,
    **dict.fromkeys((aten.silu.default, aten.hardswish.default, aten.hardsigmoid.default), _like_input),
    **dict.fromkeys((aten.silu_.default, aten.hardswish_.default, aten.hardsigmoid_.default), _itself),
    **{
        each: _of_each(each) for each in (aten.relu.default, aten.gelu.default, aten.sigmoid.default, aten.tanh.default)
    },
    **{each: _of_pairs(each) for each in (aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor)},
    aten.linear.default: _linear,
    aten.scaled_dot_product_attention.default: _attended,
    aten.unbind.int: _unbound,
    aten.dropout.default: _dropped,
    aten.feature_dropout.default: _dropped,
    aten._grouped_mm.default: _grouped,
    aten.cdist.default: _distances,
    **dict.fromkeys((aten.cross_entropy_loss.default, aten.nll_loss_nd.default, aten.nll_loss.default), _of_classes),
    aten.nll_loss2d.default: _of_classes,
    aten.hinge_embedding_loss.default: _hinged,
    aten.margin_ranking_loss.default: _ranked,
    aten.lstm.input: _recurrent,
    aten.gru.input: _recurrent,
    aten.rnn_tanh.input: _recurrent,
    aten.rnn_relu.input: _recurrent,
    **dict.fromkeys((aten.lstm.data, aten.gru.data, aten.rnn_tanh.data, aten.rnn_relu.data), _recurrent_packed),
    aten._pack_padded_sequence.default: _packed,
    aten.repeat_interleave.self_Tensor: _repeated,
    **dict.fromkeys((aten._sample_dirichlet.default, aten._standard_gamma.default), _like_input),
    aten._pad_packed_sequence.default: _unpacked,
    **VIEWS,
}
