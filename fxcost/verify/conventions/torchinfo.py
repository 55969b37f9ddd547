"""torchinfo 1.8: modules without children, by their parameters and output size (`torchinfo/layer_info.py`)."""

from math import prod

from torch import nn

from fxcost.verify.conventions.ledger import NOTHING, Counted, Row


def torchinfo(row: Row) -> Counted:
    """Each weight and bias once for each output position of a convolution, and for each sample of any other module."""
    owner = row.owner
    if any(True for _ in owner.children()) or not row.result:
        return NOTHING
    weights = biases = 0
    kind = type(owner).__name__
    for name, parameter in owner.named_parameters():
        uses = _uses(name, kind, row.result)
        if "bias" in name:
            biases += uses * parameter.numel()
        else:
            weights += uses * parameter.numel()
    if row.macs:
        return Counted(weights, (("biases are counted", biases),), f"weights of {kind} are counted {_how(owner)}")
    return Counted(0, ((f"parameters of {kind} are counted once a sample", weights + biases),))


def _how(module: nn.Module) -> str:
    if "Conv" in type(module).__name__:
        return "once for each output position, channels taken to be second"
    if any(name == "weight" for name, _ in module.named_parameters()):
        return "once a sample, not at each position"
    return "once for each sample and step, the output's first two dimensions"


def _uses(name: str, kind: str, output: tuple[int, ...]) -> int:
    if name in {"weight", "bias"}:
        return prod(output[:1] + output[2:]) if "Conv" in kind else output[0]
    return prod(output[:2]) if "weight" in name or "bias" in name else 0
