"""What is moved: elements read and written as the index set names them; and calls that no formula tells."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from fxcost.ops.kernels import LINSPACE
from fxcost.tracing.recording.steps import LEAF, UNREACHED, UNSEEN
from tests.table.counting import Number, drawn, greatest, numbers, places, total, work
from tests.table.entries import NOTHING, Cost, Entry, free, moves, unknown

aten = torch.ops.aten
X = drawn(4, 6)
INDEX = torch.tensor([[0, 2, 1], [3, 0, 2]])
LINES = torch.tensor([2, 0, 2])
ROWS = torch.tensor([[5, 0, 2], [1, 1, 6]])
TABLE = drawn(9, 4)
NOT_A_NUMBER = float("nan")


def picked(operator: Any, *given: Any, **named: Any) -> Entry:
    """A gather reads an element for each that it gives: told by running it over the places of the elements."""

    def cost() -> Cost:
        numbered = torch.arange(given[0].numel()).reshape(given[0].shape)
        taken = operator(numbered, *given[1:], **named)
        return Cost(reads={"self": sum(1 for place in taken.flatten().tolist() if place < given[0].numel())})

    return Entry(operator, cost, given, named)


def looked_up(operator: Any, table: torch.Tensor, index: torch.Tensor) -> Entry:
    """Each index reads its row of the table, also where it was read before."""
    read = sum(1 for row in index.flatten().tolist() for _ in table[row])
    return moves(operator, table, index, reads={"weight": read})


# Bags of the rows 1 2 5, and 0 3: sums, means and largest, by torch's number of the mode

PICKS, STARTS = torch.tensor([1, 2, 5, 0, 3]), torch.tensor([0, 3])
BAGS = [1, 2, 5], [0, 3]
SHARES = torch.tensor([0.5, 2.0, 1.5, 0.7, 3.0], dtype=torch.float64)
REDUCTIONS: tuple[Callable[[Sequence[float]], float], ...] = (
    total, lambda column: total(column) / len(column), greatest,
)  # fmt: skip


def bagged(operator: Any, mode: int, *, shares: torch.Tensor | None = None) -> Entry:
    def reduce() -> list[float]:
        result: list[float] = []
        left = iter([] if shares is None else shares.tolist())
        for bag in BAGS:
            own = [next(left, 1.0) for _ in bag]
            for column in range(TABLE.shape[1]):
                read = [Number(TABLE[row, column].item()) for row in bag]
                result.append(
                    REDUCTIONS[mode]([v * s for v, s in zip(read, own, strict=True)] if shares is not None else read)
                )
        return result

    def cost() -> Cost:
        found, _, vector = work(reduce)
        theirs = entry.result[0] if isinstance(entry.result, tuple) else entry.result
        torch.testing.assert_close(torch.tensor(list(map(float, found))).double(), theirs.flatten())
        return Cost(vector=vector, reads={"weight": sum(1 for bag in BAGS for row in bag for _ in TABLE[row])})

    given = TABLE, PICKS, STARTS, False, mode, False, shares
    entry = Entry(operator, cost, given, {}, None, f"mode {mode}{' weighted' * (shares is not None)}")
    return entry


# Indexed writes: what changes is seen from where a target of no numbers holds one afterwards


def touched(operator: Any, *given: Any, **named: Any) -> int:
    """Writes to distinct places: told by the places of a target of no numbers that hold one after it."""
    target = torch.full_like(given[0], NOT_A_NUMBER)
    after = operator(target, *given[1:], **named)
    return int((~after.isnan()).sum())


DISTINCT = torch.tensor([[0, 2, 1, 3], [3, 0, 2, 1]])
"""Along the first dimension of a target: no place twice in a column."""
SOURCE = drawn(4, 6) + 1.0
LINE = torch.tensor([2, 0])
SUMMED = sum(1 for _ in places((2, 4)))
"""Places that an index of 2 by 4 names, each with one operation."""


def writes() -> list[Entry]:
    plain = touched(aten.scatter.src, X, 1, DISTINCT, SOURCE)
    copied = touched(aten.index_copy.default, X, 0, LINE, SOURCE[:2])
    filled = touched(aten.index_fill.int_Scalar, X, 0, LINE, 2)
    downwards = touched(aten.index_fill.int_Scalar, X, -1, LINE, 2)
    rest = DISTINCT, SOURCE
    two, lines = SOURCE[:2].clone(), sum(1 for _ in LINE for _ in range(6))
    return [
        # In place only what is picked moves; of a source no more is read.
        moves(aten.scatter_.src, X, 1, *rest, reads={"self": 0, "src": plain}, writes={"output": plain}),
        moves(aten.scatter_.value, X, 1, DISTINCT, 2.0, reads={"self": 0}, writes={"output": plain}),
        moves(aten.scatter.src, X, 1, *rest, reads={"src": plain}),
        moves(aten.scatter.value, X, 1, DISTINCT, 2.0),
        moves(aten.index_copy_.default, X, 0, LINE, two, reads={"self": 0}, writes={"output": copied}),
        moves(aten.index_copy.default, X, 0, LINE, two),
        moves(aten.index_fill_.int_Scalar, X, 0, LINE, 2, reads={"self": 0}, writes={"output": filled}),
        moves(aten.index_fill_.int_Scalar, X, -1, LINE, 2, reads={"self": 0}, writes={"output": downwards}, case="across"),
        moves(aten.index_fill.int_Scalar, X, 0, LINE, 2),
        # A sum reads its places as well.
        *(
            scattered(operator, X, 1, *rest, *how, in_place=in_place)
            for operator, in_place, how in (
                (aten.scatter_add.default, False, ()), (aten.scatter_add_.default, True, ()),
                (aten.scatter.reduce, False, ({"reduce": "add"},)), (aten.scatter_.reduce, True, ({"reduce": "multiply"},)),
                (aten.scatter_reduce.two, False, ("amax",)), (aten.scatter_reduce_.two, True, ("sum",)),
            )
        ),
        scattered(aten.scatter.value_reduce, X, 1, DISTINCT, 2.0, {"reduce": "add"}, in_place=False),
        scattered(aten.scatter_.value_reduce, X, 1, DISTINCT, 2.0, {"reduce": "add"}, in_place=True),
        unknown(aten.scatter_reduce.two, X, 1, *rest, "mean", reads={"src": plain}),
        summed(aten.index_add.default, 1, {}), summed(aten.index_add_.default, 1, {"self": lines, "output": lines}),
        summed(aten.index_add.default, 3, {}),
        *puts(),
        moves(aten.masked_scatter.default, X, X > 0, SOURCE),
        moves(aten.slice_scatter.default, X, two, 0, 1, 3),
        moves(aten.select_scatter.default, X, SOURCE[0].clone(), 0, 2),
    ]  # fmt: skip


def scattered(operator: Any, *given: Any, in_place: bool) -> Entry:
    """One operation for each place that the index names, which is read, and so is as much of the source."""
    named = given[-1] if isinstance(given[-1], dict) else {}
    given = given[:-1] if named else given
    reads = {"src": SUMMED} if isinstance(given[3], torch.Tensor) else {}
    cost = Cost(
        vector=SUMMED,
        reads=reads | ({"self": SUMMED} if in_place else {}),
        writes={"output": SUMMED} if in_place else {},
    )
    return Entry(operator, lambda: cost, given, named, None, str(named or given[4:]))


def summed(operator: Any, alpha: int, moved: dict[str, int]) -> Entry:
    """Each element of the source is added to its place; by a factor that is not 1 it is multiplied before."""

    def cost() -> Cost:
        def add() -> list[float]:
            held = X.double().tolist()
            for row, source in zip(LINE.tolist(), SOURCE[:2], strict=True):
                for column, value in enumerate(numbers(source)):
                    held[row][column] = held[row][column] + (value if alpha == 1 else alpha * value)
            return [float(v) for row in held for v in row]

        values, _, vector = work(add)
        assert values == entry.result.flatten().tolist()
        reads = {name: n for name, n in moved.items() if name != "output"}
        return Cost(vector=vector, reads=reads, writes={"output": moved["output"]} if moved else {})

    entry = Entry(operator, cost, (X, 0, LINE, SOURCE[:2].clone()), {"alpha": alpha})
    return entry


def puts() -> list[Entry]:
    """Indices broadcast; a mask may pick all of its elements; dimensions without an index are written whole."""
    cube = drawn(3, 4, 2)
    mask = cube[..., 0] > 5
    first, second = torch.tensor([[0], [2]]), torch.tensor([0, 1, 3])
    cases: list[tuple[str, Any, tuple[int, ...], int]] = [
        # Of 3 · 4 · 2 elements: each combination of two rows and three columns, by 2 places.
        ("rows and columns", [first, second], (2, 3, 2), sum(1 for _ in first for _ in second for _ in range(2))),
        ("columns", [None, second], (3, 3, 2), sum(1 for _ in range(3) for _ in second for _ in range(2))),
        ("the last", [None, None, torch.tensor([1])], (3, 4, 1), sum(1 for _ in range(3) for _ in range(4))),
        ("a mask", [mask], (2,), sum(1 for _ in mask.flatten() for _ in range(2))),
        (
            "rows and the last",
            [second[:2], None, torch.tensor([[1], [0]])],
            (2, 2, 4),
            sum(1 for _ in range(2) for _ in range(2) for _ in range(4)),
        ),
    ]
    entries: list[Entry] = []
    for case, indices, shape, places_named in cases:
        given, values = (cube, indices), drawn(*shape) if case != "a mask" else torch.tensor(1.0).double()
        picks = {"self": places_named}
        entries += [
            moves(
                aten.index_put_.default, *given, values, reads={"self": 0}, writes={"output": places_named}, case=case
            ),
            moves(aten.index_put.default, *given, values, case=case),
            Entry(
                aten.index_put_.default,
                lambda n=places_named, p=picks: Cost(vector=n, reads=p, writes={"output": n}),
                (*given, values, True),
                {},
                None,
                f"{case}, added",
            ),
            Entry(
                aten.index_put.default,
                lambda n=places_named: Cost(vector=n),
                (*given, values, True),
                {},
                None,
                f"{case}, added",
            ),
        ]
    return entries


SQUARE = torch.eye(3)
PADDED, LENGTHS = drawn(4, 3, 2), torch.tensor([4, 2, 1])
STEPS = drawn(7, 2)
"""Of 4, 2 and 1 steps."""


ENTRIES = [
    moves(aten.clone.default, X.T),
    moves(aten.cat.default, [X, X[:, :2], drawn(6, 4).T], 1),
    moves(aten.roll.default, X, [1]),
    moves(aten.repeat.default, X[:, :1].expand(4, 6), [2, 1], case="of one column"),
    free(aten.view.default, X, [24], case="which is a view"),
    free(aten.reshape.default, X, [24], case="which is a view"),
    moves(aten.sort.default, X),
    moves(aten.topk.default, X, 2),
    moves(aten.bucketize.Tensor, X, torch.tensor([-1.0, 0.5]).double()),
    moves(aten.zeros_like.default, X, reads=NOTHING),
    moves(aten.fill_.Scalar, X, 2.0, reads=NOTHING),
    moves(aten.arange.default, 5),
    moves(LINSPACE, 5, dtype=torch.float32, gives=torch.zeros(5)),
    moves(aten.bernoulli.default, X.abs() / 3),
    moves(aten.empty_like.default, X, reads=NOTHING, writes={"output": 0}),
    moves(aten.new_empty.default, X, [5], reads=NOTHING, writes={"output": 0}),
    looked_up(aten.embedding.default, TABLE, ROWS),
    picked(aten.index.Tensor, X, [LINES]),
    picked(aten.gather.default, X, 1, INDEX),
    picked(aten.index_select.default, X, 1, LINES),
    picked(aten.take.default, X, INDEX),
    picked(aten.slice_copy.Tensor, X, 1, 2, 5),
    *(bagged(operator, mode) for operator in (aten.embedding_bag.default, aten._embedding_bag.default, aten._embedding_bag_forward_only.default) for mode in (0, 1, 2)),
    bagged(aten.embedding_bag.default, 0, shares=SHARES),
    bagged(aten._embedding_bag.default, 0, shares=SHARES),
    unknown(aten.embedding_bag.padding_idx, TABLE, PICKS, STARTS, False, 0, False, None, False, 3, reads={"weight": 0}),
    bagged(aten._embedding_bag_forward_only.default, 0, shares=SHARES),
    unknown(aten._embedding_bag.default, TABLE, PICKS, STARTS, False, 0, False, None, False, 3, reads={"weight": 0}),
    moves(aten.copy_.default, X, SOURCE, reads={"self": 0}),
    moves(aten.copy.default, X, SOURCE, reads={"self": 0}),
    # Of 4 steps of 3 sequences of 2 numbers, 4 + 2 + 1 are no padding.
    moves(aten._pack_padded_sequence.default, PADDED, LENGTHS, False, reads={"input": sum(1 for n in LENGTHS.tolist() for _ in range(n) for _ in range(2))}),
    moves(aten._pad_packed_sequence.default, STEPS, torch.tensor([3, 2, 1, 1]), False, 0.0, -1),
    *writes(),
    free(aten.t_.default, X),
    free(aten._assert_async.default, torch.tensor(1)),
    unknown(aten._sparse_mm.default, SQUARE, SQUARE, gives=SQUARE.clone(), reads=NOTHING),
    unknown(aten.nonzero.default, X),
    unknown(aten.masked_select.default, X, X > 0, reads=NOTHING),
    unknown(aten.linalg_inv.default, SQUARE, reads=NOTHING),
    unknown(aten._thnn_fused_gru_cell.default, X, X.clone(), X.clone(), gives=(X.clone(), X.clone())),
    unknown(LEAF, [X], [TABLE], gives=[X.clone()], reads={"weights": 0}),
    unknown(UNREACHED, [TABLE], gives=[X.clone()], reads={"weights": 0}),
    unknown(UNSEEN, gives=X.clone()),
]  # fmt: skip
