"""Models that read a text and look at a picture: the inputs of both, where a run on tensors without values takes them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from fxcost.errors import FxcostError
from fxcost.inputs import Arguments, InputSpec
from fxcost.models.attention_masks import full_rows
from fxcost.tracing import rehearse

PICTURE, KINDS = "pixel_values", "token_type_ids"
"""The second tells tokens of an image from those of a text, where a model has it."""
PLACEHOLDERS = "each text has a place for every feature of its picture"
ONE_AT_A_TIME = "one text and one picture a call: the model's code takes the pictures of a batch one by one"
ALIKE = "tokens of a picture are masked as those of a text: no token_type_ids are given"


def with_pictures(
    module: torch.nn.Module, inputs: Mapping[str, Any], usual: Mapping[str, int]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The most of the inputs that the model runs with, and what that takes for granted.

    A model that goes by values, such as how many tiles a picture has, is given its text or its picture alone.
    """
    text = {name: each for name, each in inputs.items() if name not in (PICTURE, KINDS)}
    for given in (dict(inputs), {name: each for name, each in inputs.items() if name != KINDS}):
        made = _tensors_made(module, given, {**usual, "B": 1})
        if made:
            many = _tensors_made(module, given, {**usual, "B": 2})
            notes = _notes(module, inputs, given)
            return (given, notes) if made == many else (_of_one(given), (*notes, ONE_AT_A_TIME))
    picture = {name: each for name, each in inputs.items() if name == PICTURE or not isinstance(each, InputSpec)}
    return (text if _tensors_made(module, text, {**usual, "B": 1}) else picture), ()


def _notes(module: Any, inputs: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[str, ...]:
    """What is taken for granted of a text and a picture given together."""
    placed = getattr(module.config, "image_token_id", None) is not None
    return (*((PLACEHOLDERS,) if placed else ()), *((ALIKE,) if KINDS in inputs and KINDS not in given else ()))


def _of_one(given: Mapping[str, Any]) -> dict[str, Any]:
    """The same inputs for a batch of one."""
    return {
        name: replace(each, dims=tuple(1 if dim == "B" else dim for dim in each.dims))
        if isinstance(each, InputSpec)
        else each
        for name, each in given.items()
    }


def _tensors_made(module: torch.nn.Module, given: Mapping[str, Any], sizes: Mapping[str, int]) -> int:
    """How many tensors a run makes, which grows where it takes a batch apart; 0 where the model does not run."""
    try:
        with full_rows(module, skipping=False):
            return rehearse(module, Arguments((), given), sizes)
    except FxcostError:
        return 0
