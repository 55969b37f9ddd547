"""What is said of weights that are packed: what shifts and masks prove, and of anything else nothing."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from fxcost.api import trace

ROWS, COLUMNS = 6, 16


class Taken(nn.Module):
    """A buffer of whole numbers that a function takes apart, beside another that it may shift by."""

    def __init__(
        self, function: Callable[..., object], dtype: torch.dtype = torch.uint8, *, trained: bool = False
    ) -> None:
        super().__init__()
        self.function = function
        held = torch.zeros((ROWS, COLUMNS), dtype=dtype)
        if trained:
            self.packed = nn.Parameter(held, requires_grad=False)
        else:
            self.register_buffer("packed", held)
        self.register_buffer("places", torch.tensor([0, 4], dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        parts: tuple[Tensor, ...] = self.function(self.packed, self.places)  # pyright: ignore[reportAssignmentType]
        return x * torch.stack([part.sum().to(x.dtype) for part in parts]).sum()


def notes(module: nn.Module) -> list[str]:
    costs = trace(module, inputs=("x: float32[B,2]",), warn=lambda _: None, isolated=False)
    return [note for note in costs.assumptions if note.startswith("packed")]


def said(numbers: int, bits: int, held: int, name: str = "packed holds") -> list[str]:
    counted = "params counts the elements of parameters as they are stored, and no buffers"
    return [f"packed: {name} {numbers} numbers of {bits} bits in {held} bytes; {counted}"]


PROVED: dict[str, tuple[Callable[..., object], torch.dtype, int, int]] = {
    "halves": (lambda q, _: (q & 0xF, q >> 4), torch.uint8, 4, 2),
    "both masked": (lambda q, _: (q & 0xF, (q >> 4) & 0xF), torch.uint8, 4, 2),
    "masked high": (lambda q, _: (q & 0xF, (q & 0xF0) >> 4), torch.uint8, 4, 2),
    "signed halves": (lambda q, _: ((q << 4) >> 4, q >> 4), torch.int8, 4, 2),
    "quarters": (lambda q, _: (q & 3, q >> 2 & 3, q >> 4 & 3, q >> 6), torch.uint8, 2, 4),
    "words": (lambda q, _: tuple((q >> 4 * n) & 0xF for n in range(8)), torch.int32, 4, 8),
    "words cut to bytes": (lambda q, _: tuple((q >> 8 * n).to(torch.int8) for n in range(4)), torch.int32, 8, 4),
    "another shape": (lambda q, _: (q.t().reshape(-1) & 0xF, q.unsqueeze(0).to(torch.int32) >> 4), torch.uint8, 4, 2),
}  # fmt: skip


@pytest.mark.parametrize("name", PROVED)
def test_numbers_that_every_element_is_cut_into_are_told(name: str) -> None:
    function, dtype, bits, each = PROVED[name]
    elements = ROWS * COLUMNS
    assert notes(Taken(function, dtype)) == said(elements * each, bits, elements * dtype.itemsize)


UNPROVED: dict[str, Callable[..., object]] = {
    "whole": lambda q, _: (q,),
    "one half": lambda q, _: (q & 0xF,),
    "halves and the whole": lambda q, _: (q & 0xF, q >> 4, q),
    "halves of some": lambda q, _: (q[:, :8] & 0xF, q[:, :8] >> 4),
    "halves of different ones": lambda q, _: (q[:, ::2] & 0xF, q[:, 1::2] >> 4),
    "bits that are shared": lambda q, _: (q & 0x1F, q >> 4),
    "bits apart": lambda q, _: (q & 0b1101, q >> 4),
    "unequal parts": lambda q, _: (q & 7, q >> 3),
    "not moved down": lambda q, _: (q & 0xF, q & 0xF0),
    "moved down in part": lambda q, _: (q & 0xF, (q & 0xF0) >> 2),
    "places from data": lambda q, places: ((q.unsqueeze(-1) >> places) & 0xF,),
    "written over": lambda q, _: (q.view(-1).bitwise_and_(0xF), q >> 4),
    "another mask": lambda q, _: (q & -16, q >> 4),
}


@pytest.mark.parametrize("name", UNPROVED)
def test_nothing_is_said_of_what_is_not_proved(name: str) -> None:
    assert notes(Taken(UNPROVED[name])) == []


def test_several_are_one_line_and_parameters_are_counted_as_stored() -> None:
    halves = PROVED["halves"][0]
    module = nn.Sequential(Taken(halves, trained=True), Taken(halves))
    held = 2 * ROWS * COLUMNS
    assert notes(module) == said(2 * held, 4, held, "0.packed and 1 more hold")
    costs = trace(module, inputs=("x: float32[B,2]",), warn=lambda _: None, isolated=False)
    assert costs.total.params == ROWS * COLUMNS
