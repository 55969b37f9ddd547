"""Sizes end where tables of positions do: at the limit the real model runs, one size beyond it does not."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fxcost.analysis import trace
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


UNKNOWN: list[Places] = [changed, wrapped, folded, segments, still, capped, lambda tokens: tokens]


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
