"""One step of decoding by a language model of transformers: a token for each sequence, against a cache of its past."""

from fxcost.zoos import zoo_module

zoo_module("transformers")  # says how to get it where it is missing, and mends what it would stumble over

from fxcost.decoding.copies import refuse_copies  # noqa: E402  # both need the line above
from fxcost.decoding.step import decode_source  # noqa: E402

__all__ = ["decode_source", "refuse_copies"]
