"""Random numbers that a model draws with Python or NumPy: unlike in runs that are compared, so that what they decide shows."""

import random
from collections.abc import Generator
from contextlib import contextmanager
from itertools import cycle

import numpy as np

DRAWN = "the model draws random numbers with Python's random or NumPy; runs that drew others did the same"
_SEEDS = (47468, 274939)
"""Those after which both libraries begin with a number near 0, and near 1; of three whole numbers the first, and the last."""


class Draws:
    """Seeds each run of a model unlike the one before, and tells whether any drew."""

    def __init__(self) -> None:
        self.drawn = False
        self._seeds = cycle(_SEEDS)

    @contextmanager
    def seeded(self) -> Generator[None]:
        """Seed one run; the generators are left as they were."""
        pythons, numpys = random.getstate(), np.random.get_state(legacy=False)  # noqa: NPY002  # what models draw from
        seed = next(self._seeds)
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        before = _position()
        try:
            yield
        finally:
            self.drawn = self.drawn or _position() != before
            random.setstate(pythons)
            np.random.set_state(numpys)  # noqa: NPY002


def _position() -> tuple[object, bytes, int]:
    """How far both generators are."""
    state = np.random.get_state(legacy=False)["state"]  # noqa: NPY002
    return random.getstate(), state["key"].tobytes(), state["pos"]
