"""One step of decoding by a language model of transformers: a token for each sequence, against a cache of its past."""

from fxcost.models.zoos import zoo_module

zoo_module("transformers")  # says how to get it where it is missing, and mends what it would stumble over

from fxcost.models.decoding.step import decode_source  # noqa: E402

__all__ = ["decode_source"]
