"""Masks and attention of transformers, answered as for rows without padding while a model is traced.

On tensors with values its models look whether a mask hides anything, and where it does not they give attention none.
Without values it builds one, and repeats keys and values for it, which nobody who runs the model pays.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownParameterType=false
# pyright: reportUnknownVariableType=false, reportPrivateUsage=false, reportUnknownLambdaType=false
# transformers is typed in part.

import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial, wraps
from typing import Any
from unittest import mock

import torch
from torch.fx import Graph

from fxcost.errors import FxcostError
from fxcost.graph import OUTPUTS, operations
from fxcost.ops.kernels import ATTENTION, MASK
from fxcost.ops.rules import judge

KERNEL = "sdpa"
"""The name under which transformers looks for attention and masks that run in a kernel."""
CHECK, RECURRENT = "torch_compilable_check", "create_recurrent_attention_mask"
"""Functions that models of transformers import by name: what checks their inputs, and what makes masks of recurrent layers."""
UNREAD = {"position_ids", "cache_position"}
"""Tensors that models hand on to attention, and no attention reads."""


@dataclass
class Answers:
    """What a run was answered, for the assumptions of its costs."""

    full_rows: bool = False
    """Whether it asked what a mask hides, or whether a row holds several sequences."""
    in_kernel: set[str] = field(default_factory=set[str])
    """What attention does there in a kernel that transformers' own code writes out: ``sinks``, ``soft caps``."""
    windows: set[int] = field(default_factory=set[int])
    """Positions that sliding windows have, where the kernel knows them and is given no mask."""

    def notes(self) -> tuple[str, ...]:
        """Each answer as an assumption."""
        notes: list[str] = []
        if self.full_rows:
            notes.append("attention masks hide nothing: rows are full, one sequence each")
        if self.in_kernel:
            does = " and ".join(sorted(self.in_kernel))
            notes.append(f"{does} of attention run inside the fused kernel, which transformers' own code writes out")
        if self.windows:
            listed = ", ".join(f"{each:,}" for each in sorted(self.windows))
            notes.append(
                f"sliding windows of {listed} positions are known to the kernel, as flash attention has them: no mask is built or read"
            )
        return tuple(notes)


@contextmanager
def full_rows(model: torch.nn.Module | None, *, skipping: bool, windows: bool = True) -> Generator[Answers]:
    """While this lasts models of transformers are told that masks hide nothing; where none is loaded, nothing changes.

    Attention that has sinks or soft caps runs in a kernel. With ``skipping`` so does that of sliding windows: what
    skips pairs has no use for a mask. Without ``windows`` no kernel knows any, and their masks are tensors.
    """
    models: Any = sys.modules.get("transformers.modeling_utils")
    with nothing_hidden() as answers, ExitStack() as patches:
        if models is not None and model is not None:
            written = list(_written_out(model, models.PreTrainedModel))
            for config in written:
                patches.enter_context(mock.patch.object(config, "_attn_implementation_internal", KERNEL))
            if written or skipping:
                mine = None if skipping else {id(config) for config in written}
                patches.enter_context(_Kernel(_masks(), models, answers, mine, windows).in_place())
        yield answers


@contextmanager
def nothing_hidden() -> Generator[Answers]:
    """While this lasts models of transformers are told that masks hide nothing, and attention is their own."""
    answers, masks = Answers(), _masks()
    with ExitStack() as patches:
        if masks is not None:
            for name, answer in _questions(masks, answers).items():
                patches.enter_context(mock.patch.object(masks, name, answer))
            for name, answered in ((CHECK, _but_of_values), (RECURRENT, partial(_no_padding, answers))):
                for module, function in _held(name):
                    patches.enter_context(mock.patch.object(module, name, answered(function)))
        yield answers


def _masks() -> Any:
    """What transformers makes masks with; None where no model of it is loaded."""
    return sys.modules.get("transformers.masking_utils")


def _held(name: str) -> list[tuple[Any, Callable[..., Any]]]:
    """The modules of transformers that hold a function of this name, each with it."""
    loaded = [module for path, module in sys.modules.items() if path.startswith("transformers.")]
    return [(module, vars(module)[name]) for module in loaded if name in vars(module)]


def _but_of_values(check: Callable[..., None]) -> Callable[..., None]:
    """The same check of sizes; of values none, such as whether a text has a placeholder for each feature of its pictures."""

    @wraps(check)
    def checked(condition: Any, *others: Any, **more: Any) -> None:
        condition = condition() if callable(condition) else condition
        if not isinstance(condition, torch.Tensor):
            check(condition, *others, **more)

    return checked


def _no_padding(answers: Answers, made: Callable[..., Any]) -> Callable[..., Any]:
    """The mask of a recurrent layer for a row without padding, which is none."""

    @wraps(made)
    def mask(config: Any, inputs_embeds: Any, attention_mask: Any, *others: Any, **more: Any) -> Any:
        if attention_mask is None or attention_mask.ndim != 2:
            return made(config, inputs_embeds, attention_mask, *others, **more)
        torch.all(attention_mask == 1)
        answers.full_rows = True
        return None

    return mask


def reads_stand_ins(graph: Graph) -> bool:
    """Whether a model computes with what stands for a mask, other than in a kernel that knows its window."""
    standing = {OUTPUTS[node][0].storage for node in operations(graph) if node.target is MASK}
    if not standing:
        return False
    verdicts = (judge(node) for node in operations(graph))
    return any(
        tensor.storage in standing
        for verdict in verdicts
        if verdict.call is not None and verdict.coverage != "free"
        for _, tensor in verdict.call.tensors
    )


def _questions(masks: Any, answers: Answers) -> dict[str, Callable[..., Any]]:
    """Answers to what transformers asks of masks, each after the work that asking takes."""
    all_true, whole, packed = masks.fast_all, masks._ignore_bidirectional_mask_sdpa, masks.find_packed_sequence_indices

    @wraps(all_true)
    def hides_nothing(tensor: torch.Tensor) -> bool:
        all_true(tensor)
        answers.full_rows = True
        return True

    @wraps(whole)
    def bidirectional(padding: torch.Tensor | None, *sizes: Any, **more: Any) -> bool:
        _look_at(padding, answers)
        return whole(None, *sizes, **more)

    @wraps(packed)
    def one_sequence(position_ids: torch.Tensor) -> None:
        with mock.patch.object(masks, "is_tracing", return_value=True):
            (packed(position_ids)[:, -1] == 0).all()
        answers.full_rows = True

    return {
        "fast_all": hides_nothing,
        "is_tracing": lambda _=None: False,
        "is_torchdynamo_exporting": lambda: False,
        "_ignore_bidirectional_mask_sdpa": bidirectional,
        "find_packed_sequence_indices": one_sequence,
    }


def _look_at(padding: torch.Tensor | None, answers: Answers) -> None:
    """What asking whether a mask hides anything computes."""
    if padding is not None:
        padding.all()
        answers.full_rows = True


def _written_out(model: torch.nn.Module, kind: type) -> Iterator[Any]:
    """Configurations of models that write attention out by default, though flash kernels run it: torch's has no sinks or soft caps."""
    for each in model.modules():
        if (
            isinstance(each, kind)
            and getattr(each, "_supports_flash_attn", False)
            and not getattr(each, "_supports_sdpa", True)
            and getattr(each.config, "_attn_implementation", None) == "eager"
        ):
            yield each.config


class _Kernel:
    """Attention that makes no use of a causal mask or of one with a sliding window, in the place of transformers' own."""

    def __init__(self, masks: Any, models: Any, answers: Answers, configs: set[int] | None, knows: bool) -> None:
        self.masks, self.models, self.answers, self.configs, self.knows = masks, models, answers, configs, knows
        self.windows: dict[Any, int] = {}
        """Positions of a window, by the function that tells which pairs of a mask are kept."""
        self.standing: dict[int, tuple[torch.Tensor, int]] = {}
        """What stands for a mask, and the positions of its window, by its storage."""

    @contextmanager
    def in_place(self) -> Generator[None]:
        masks, models, made = self.masks, self.models, self.masks.sliding_window_causal_mask_function

        @wraps(made)
        def known(sliding_window: int) -> Any:
            function = made(sliding_window)
            if self.knows:
                self.windows[function] = sliding_window
            return function

        with (
            mock.patch.object(masks, "sliding_window_causal_mask_function", known),
            mock.patch.dict(masks.ALL_MASK_ATTENTION_FUNCTIONS._local_mapping, {KERNEL: self.mask}),
            mock.patch.dict(models.ALL_ATTENTION_FUNCTIONS._local_mapping, {KERNEL: self.attend}),
        ):
            yield

    def mask(self, **asked: Any) -> torch.Tensor | None:
        """None for a mask that is causal, what stands for it where it has a window too, else transformers' own."""
        config, padding = asked.get("config"), asked.get("attention_mask")
        causal = asked.get("allow_is_causal_skip") and asked.get("q_offset") == 0 and asked.get("kv_offset") == 0
        mine = self.configs is None or id(config) in self.configs
        if not (causal and mine and asked["q_length"] == asked["kv_length"]):
            return self.masks.sdpa_mask(**asked)
        window = self.windows.get(asked["mask_function"])
        if window is not None:
            _look_at(padding, self.answers)
            like = torch.empty((), device="meta") if padding is None else padding
            stands = MASK(like, asked["batch_size"], asked["q_length"], asked["kv_length"])
            self.standing[stands.untyped_storage()._cdata] = stands, int(window)
            return stands
        if asked["mask_function"] is self.masks.causal_mask_function and asked.get("local_size") is None:
            _look_at(padding, self.answers)
            return None
        return self.masks.sdpa_mask(**asked)

    def attend(
        self,
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        **others: Any,
    ) -> tuple[torch.Tensor, None]:
        """Attention as torch's own where that can be; with sinks, a soft cap or a window as one call that knows them."""
        window = None
        if attention_mask is not None:
            _, window = self.standing.get(attention_mask.untyped_storage()._cdata, (None, None))
        sinks, cap = others.get("s_aux"), others.get("softcap")
        if window is None and sinks is None and cap is None:
            given = {name: each for name, each in others.items() if name not in ("s_aux", "softcap")}
            return self.models.ALL_ATTENTION_FUNCTIONS._global_mapping[KERNEL](
                module, query, key, value, attention_mask, **given
            )
        read = [
            name for name, each in others.items() if isinstance(each, torch.Tensor) and name not in {*UNREAD, "s_aux"}
        ]
        if read:
            raise FxcostError(f"the attention of {type(module).__name__} reads {read[0]}, which has no rule")
        self._note(window, sinks, cap)
        mask = None if window is not None else attention_mask
        told = others.get("is_causal")
        causal = mask is None and bool(getattr(module, "is_causal", True) if told is None else told)
        output = ATTENTION(query, key, value, mask, sinks, causal, window)
        return output.transpose(1, 2).contiguous(), None

    def _note(self, window: int | None, sinks: Any, cap: Any) -> None:
        self.answers.in_kernel |= {name for name, each in (("sinks", sinks), ("soft caps", cap)) if each is not None}
        self.answers.windows |= set() if window is None else {window}
