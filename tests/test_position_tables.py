"""Sizes end where tables of positions do: at the limit the real model runs, one size beyond it does not."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from torch import nn

from fxcost.api import trace
from fxcost.errors import FxcostError

TOKENS = ("tokens: int64[B,S]",)
Places = Callable[[torch.Tensor], torch.Tensor]


class Placed(nn.Module):
    """Tokens and their places, looked up in a table of 40 rows."""

    def __init__(self, places: Places, kind: str = "embedding") -> None:
        super().__init__()
        self.tokens, self.out, self.places, self.kind = nn.Embedding(50, 8), nn.Linear(8, 8), places, kind
        self.learned = nn.Embedding(40, 8)
        self.plain = torch.zeros(40, 8)
        self.computed = nn.Buffer(torch.zeros(40, 8))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        places = self.places(tokens)
        rows = {
            "embedding": self.learned,
            "attribute": lambda at: self.plain[at],
            "buffer": lambda at: self.computed[at, :],
            "index_select": lambda at: self.computed.index_select(0, at.reshape(-1)).view(*at.shape, 8),
            "gather": lambda at: self.computed.gather(0, at.reshape(-1, 1).expand(-1, 8)).view(*at.shape, 8),
        }[self.kind]
        return self.out(self.tokens(tokens) + rows(places))


def plain(tokens: torch.Tensor) -> torch.Tensor:
    return torch.arange(tokens.shape[1])


def shifted(tokens: torch.Tensor) -> torch.Tensor:
    return torch.arange(2, tokens.shape[1] + 2)[None].expand(tokens.shape)


def in_place(tokens: torch.Tensor) -> torch.Tensor:
    places = torch.arange(tokens.shape[1])
    places += 3
    return places


def of_a_mask(tokens: torch.Tensor) -> torch.Tensor:
    """As RoBERTa counts the tokens that are no padding."""
    mask = tokens.ne(1).int()
    return (mask.cumsum(1).type_as(mask) * mask).long() + 1


def backward(tokens: torch.Tensor) -> torch.Tensor:
    return tokens.shape[1] - 1 - torch.arange(tokens.shape[1])


def by_two(tokens: torch.Tensor) -> torch.Tensor:
    return torch.arange(tokens.shape[1]) * 2


def runs(model: nn.Module, length: int) -> bool:
    """Whether the model itself, with memory, runs over so many tokens, none of them padding."""
    try:
        model(torch.zeros(2, length, dtype=torch.long))
    except (IndexError, RuntimeError):
        return False
    return True


def halved(tokens: torch.Tensor) -> torch.Tensor:
    return torch.arange(tokens.shape[1]) // 2 + 1


def distances(tokens: torch.Tensor) -> torch.Tensor:
    places = torch.arange(tokens.shape[1])
    return (places[:, None] - places).abs()[:, None]


def behind_a_first(tokens: torch.Tensor) -> torch.Tensor:
    return torch.cat([torch.zeros(1, dtype=torch.long), torch.arange(tokens.shape[1] - 1)])


CASES: dict[str, tuple[Places, str, int]] = {
    "learned": (plain, "embedding", 40),
    "a plain attribute": (plain, "attribute", 40),
    "a buffer": (plain, "buffer", 40),
    "index_select": (plain, "index_select", 40),
    "gather": (plain, "gather", 40),
    "shifted": (shifted, "embedding", 38),
    "moved in place": (in_place, "attribute", 37),
    "counted by a mask": (of_a_mask, "embedding", 38),
    "from the end": (backward, "buffer", 40),
    "every second row": (by_two, "embedding", 20),
    "flipped": (lambda t: plain(t).flip(0), "embedding", 40),
    "each row twice": (halved, "embedding", 78),
    "each row twice by div": (lambda t: torch.div(plain(t), 2, rounding_mode="floor"), "embedding", 80),
    "counted in twos": (lambda t: torch.arange(0, 2 * t.shape[1], 2), "embedding", 20),
    "of floats": (lambda t: torch.arange(t.shape[1], dtype=torch.float32).long(), "embedding", 40),
    "part of a long count": (lambda t: torch.arange(1000)[1 : t.shape[1] + 1], "embedding", 39),
    "no less than 3": (lambda t: plain(t).clamp(min=3), "embedding", 40),
    "distances": (distances, "embedding", 40),
    "behind a first": (behind_a_first, "embedding", 41),
    "moved behind a first": (lambda t: behind_a_first(t) + 1, "embedding", 40),
}


@pytest.mark.parametrize("case", CASES)
def test_the_largest_size_is_the_last_that_the_model_runs_at(case: str) -> None:
    places, kind, last = CASES[case]
    costs = trace(Placed(places, kind), inputs=TOKENS, at={"S": 9})
    assert costs.symbols["S"].high == last
    model = Placed(places, kind)
    assert (runs(model, last), runs(model, last + 1)) == (True, False)
    with pytest.raises(FxcostError, match=f"S={last + 1} is above {last}"):
        costs.at(B=1, S=last + 1)


def changed(tokens: torch.Tensor) -> torch.Tensor:
    """Written over, so that nothing is known of them."""
    places = torch.arange(tokens.shape[1])
    places.fill_(0)
    return places


def changed_in_part(tokens: torch.Tensor) -> torch.Tensor:
    return changed(tokens)[: tokens.shape[1]]


def wrapped(tokens: torch.Tensor) -> torch.Tensor:
    return torch.arange(tokens.shape[1]) % 40


def folded(tokens: torch.Tensor) -> torch.Tensor:
    places = torch.arange(tokens.shape[1])
    return (places * (tokens.shape[1] - 1 - places)) % 40


def segments(tokens: torch.Tensor) -> torch.Tensor:
    """Numbers of the parts between separators, of which there may be none."""
    return (tokens == 50).cumsum(1)


def still(tokens: torch.Tensor) -> torch.Tensor:
    return torch.arange(tokens.shape[1]) - torch.arange(tokens.shape[1])


def capped(tokens: torch.Tensor) -> torch.Tensor:
    return (torch.arange(tokens.shape[1]) < 32).long().cumsum(0)


def capped_by_clamp(tokens: torch.Tensor) -> torch.Tensor:
    return torch.arange(tokens.shape[1]).clamp(0, 39)


def counted_ones(_tokens: torch.Tensor) -> torch.Tensor:
    """Numbers that are 0 and 1 by place are no mask, which may be all ones."""
    return torch.tensor([0] * 60 + [1]).view(61, 1, 1).cumsum(0)


UNKNOWN: list[Places] = [
    changed,
    changed_in_part,
    wrapped,
    folded,
    segments,
    still,
    capped,
    capped_by_clamp,
    counted_ones,
    lambda t: t,
]


@pytest.mark.parametrize("places", UNKNOWN)
def test_what_is_not_known_limits_nothing(places: Places) -> None:
    assert trace(Placed(places), inputs=TOKENS, at={"S": 9}).symbols["S"].high is None
    assert runs(Placed(places), 100)


def test_what_does_not_end_together_is_not_added_up() -> None:
    """A place and its distance from the end are together always one less than the length."""
    mirrored = lambda t: torch.arange(t.shape[1]) * (t.shape[1] - 1 - torch.arange(t.shape[1]))  # noqa: E731
    assert runs(Placed(mirrored), 12)
    trace(Placed(mirrored), inputs=TOKENS, at={"S": 9}).at(B=1, S=12)


def test_places_of_two_sizes_are_a_condition_that_names_the_module() -> None:
    costs = trace(
        Placed(lambda t: torch.arange(t.shape[0])[:, None] + torch.arange(t.shape[1])),
        inputs=TOKENS,
        at={"B": 2, "S": 9},
    )
    costs.at(B=3, S=38)
    with pytest.raises(FxcostError, match=r"asked for by learned, which picks a row for each position"):
        costs.at(B=3, S=39)


ROWS_OUTSIDE = torch.tensor([0, 5])


class Picking(nn.Module):
    """Picks from its input the rows that it holds the numbers of."""

    def __init__(self, pick: Callable[["Picking", torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.a, self.pick = nn.Linear(8, 8), pick
        self.rows = nn.Buffer(torch.tensor([0, 3, 9]))
        self.kept = torch.tensor([4, 1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.a(self.pick(self, x))


def set_to_zero(_model: Picking, x: torch.Tensor) -> torch.Tensor:
    x = x.clone()
    x[:, [0, 7]] = 0
    return x


def moved_along(model: Picking, x: torch.Tensor) -> torch.Tensor:
    return x[:, model.rows + 2]


def written_over(model: Picking, x: torch.Tensor) -> torch.Tensor:
    rows = model.rows.clone()
    rows.fill_(0)
    return x[:, rows]


HELD: dict[str, tuple[Callable[[Picking, torch.Tensor], torch.Tensor], int]] = {
    "a list": (lambda _, x: x[:, [0, 5]], 6),
    "a list, counted from the end": (lambda _, x: x[:, [-7, 0]], 7),
    "a tensor": (lambda _, x: x[:, torch.tensor([0, 5])], 6),
    "a tensor of an array": (lambda _, x: x[:, torch.as_tensor(numpy.array([0, 5]))], 6),
    "an array made a tensor": (lambda _, x: x[:, torch.from_numpy(numpy.array([0, 5]))], 6),
    "an array": (lambda _, x: x[:, numpy.array([0, 5])], 6),
    "a global tensor": (lambda _, x: x[:, ROWS_OUTSIDE], 6),
    "a buffer": (lambda m, x: x[:, m.rows], 10),
    "an attribute": (lambda m, x: x[:, m.kept], 5),
    "index_select": (lambda m, x: x.index_select(1, m.rows), 10),
    "gather": (lambda m, x: x.gather(1, m.rows[None, :, None].expand(x.shape[0], 3, 8)), 10),
    "index_add": (lambda m, x: x.index_add(1, m.kept, torch.zeros_like(x)[:, :2]), 5),
    "index_copy": (lambda m, x: x.index_copy(1, m.kept, x[:, :1].expand(-1, 2, -1)), 5),
    "index_fill": (lambda m, x: x.index_fill(1, m.rows, 0), 10),
    "scatter": (lambda m, x: x.scatter(1, m.kept[None, :, None].expand(x.shape[0], 2, 8), 0.5), 5),
    "set by a list": (set_to_zero, 8),
    "moved": (moved_along, 12),
    "written over": (written_over, 1),
    "none beyond": (lambda _, x: x[:, [0, 0]], 1),
}


def lengths_that_run(model: nn.Module) -> Iterator[int]:
    for length in range(1, 17):
        try:
            model(torch.zeros(2, length, 8))
        except (IndexError, RuntimeError):
            continue
        yield length


@pytest.mark.parametrize("case", HELD)
def test_rows_that_the_model_holds_the_numbers_of_are_there(case: str) -> None:
    pick, first = HELD[case]
    costs = trace(Picking(pick), inputs=("x: float32[B,S,8]",), at={"S": 16})
    assert (costs.symbols["S"].low, min(lengths_that_run(Picking(pick)))) == (first, first)


def test_rows_beyond_a_size_that_is_held_are_refused() -> None:
    places = Picking(lambda m, x: x.index_select(1, m.rows))
    assert min(lengths_that_run(places)) == 10
    trace(places, inputs=("x: float32[2,10,8]",))
    with pytest.raises(FxcostError, match="picks row 9 of 9 rows"):
        trace(places, inputs=("x: float32[2,9,8]",))


def test_classes_end_where_one_hot_says() -> None:
    hot = Picking(lambda _, x: x + nn.functional.one_hot(torch.arange(x.shape[1]), 16).sum())
    assert trace(hot, inputs=("x: float32[B,S,8]",), at={"S": 9}).symbols["S"].high == 16
    assert list(lengths_that_run(hot)) == list(range(1, 17))


def test_a_fixed_size_beyond_the_table_is_refused() -> None:
    with pytest.raises(FxcostError) as refusal:
        trace(Placed(plain), "B", inputs=TOKENS, at={"S": 41})
    assert "learned picks row 40 of 40 rows, counted from 0" in str(refusal.value)
    assert trace(Placed(plain), "B", inputs=TOKENS, at={"S": 40}).fixed["S"].value == 40


FAMILIES: dict[str, dict[str, Any]] = {
    "ctrl": {"n_embd": 32, "n_head": 4, "n_layer": 1, "dff": 32, "n_positions": 24},
    "codegen": {"n_embd": 32, "n_head": 4, "n_layer": 1, "n_positions": 24, "rotary_dim": 4},
    "gptj": {"n_embd": 32, "n_head": 4, "n_layer": 1, "n_positions": 24, "rotary_dim": 4},
    "gpt2": {"n_embd": 32, "n_head": 4, "n_layer": 1, "n_positions": 24, "architectures": ["GPT2LMHeadModel"]},
    "opt": {"hidden_size": 32, "word_embed_proj_dim": 32, "num_attention_heads": 4, "num_hidden_layers": 1, "ffn_dim": 32,
            "max_position_embeddings": 24},
}  # fmt: skip


def test_padding_takes_rows_of_its_own(tmp_path: Path) -> None:
    """RoBERTa counts from the row after that of padding, so that its table of 24 rows holds 22 positions."""
    from transformers import AutoConfig, AutoModelForMaskedLM

    config = {"model_type": "roberta", "vocab_size": 50, "hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 1,
              "intermediate_size": 32, "max_position_embeddings": 24, "pad_token_id": 1}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert trace(f"hf:{tmp_path}", at={"S": 9}, warn=lambda _: None).symbols["S"].high == 22
    model = AutoModelForMaskedLM.from_config(AutoConfig.from_pretrained(tmp_path)).eval()
    assert (runs(model, 22), runs(model, 23)) == (True, False)


@pytest.mark.parametrize("family", FAMILIES)
def test_models_of_transformers_end_with_their_tables(family: str, tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    common = {"model_type": family, "vocab_size": 50, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 0}
    (tmp_path / "config.json").write_text(json.dumps({**common, **FAMILIES[family]}))
    reference = f"hf:{tmp_path}"
    assert trace(reference, warn=lambda _: None).symbols["S"].high == 24
    assert trace(reference, mode="decode", warn=lambda _: None).symbols["P"].high == 23
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(tmp_path)).eval()
    assert (runs(model, 24), runs(model, 25)) == (True, False)
