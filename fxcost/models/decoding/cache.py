"""A cache as serving engines keep it: buffers with room for the new token, which is written in place.

transformers' own caches grow by copying the past at every step, which would be counted as traffic of the model.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownParameterType=false
# pyright: reportUnknownVariableType=false, reportMissingTypeArgument=false, reportMissingParameterType=false
# transformers is typed in part.

from typing import Any

import torch
from transformers.cache_utils import CacheLayerMixin


class Buffer(CacheLayerMixin):
    """The keys and values of one layer, each ``[B, heads, positions, size]``; what is new takes the last position.

    Rotary positions are in the keys already, so where a key stands does not matter: a window's buffer may be a ring.
    Without ``buffers`` it takes the shapes of the first keys and values that it is given.
    """

    is_sliding = False
    names = ("keys", "values")

    def __init__(self, past: Any, buffers: tuple[torch.Tensor, ...] = ()) -> None:
        super().__init__()
        self.past, self.buffers = past, buffers
        self.is_initialized = True

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """There is nothing to wait for."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the new token's keys and values, and hand out those of all positions."""
        self.buffers = self.buffers or (self._room_for(key_states), self._room_for(value_states))
        keys, values = self.buffers
        _newest(keys).copy_(key_states)
        _newest(values).copy_(value_states)
        return keys, values

    def _room_for(self, states: torch.Tensor) -> torch.Tensor:
        """A buffer for states ``[B, heads, 1, size]`` of the past and of the new token."""
        batch, heads, _, size = states.shape
        return states.new_empty((batch, heads, self.past + 1, size))

    def get_mask_sizes(self, query_length: int) -> tuple[Any, int]:  # noqa: ARG002  # transformers passes it
        """As many positions as the buffer has, from the first on."""
        return (self.buffers[0].shape[2] if self.buffers else self.past + 1), 0

    def get_seq_length(self) -> Any:
        """The length of the past, also where a window holds less of it."""
        return self.past

    def get_max_length(self) -> int:
        """No limit."""
        return -1


class LatentBuffer(Buffer):
    """What latent attention keeps of a position: its latent and the rotary part of its key, side by side, for all heads."""

    names = ("latent",)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the new token's latent and rotary part; the latent with its rotary part is the key, alone it is the value."""
        rank = key_states.shape[-1]
        if not self.buffers:
            self.buffers = (self._room_for(torch.cat((key_states, value_states), -1)),)
        (latent,) = self.buffers
        _newest(latent)[..., :rank].copy_(key_states)
        _newest(latent)[..., rank:].copy_(value_states)
        return latent, latent[..., :rank]


def _newest(buffer: torch.Tensor) -> torch.Tensor:
    return buffer.narrow(2, buffer.shape[2] - 1, 1)
