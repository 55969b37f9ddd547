"""What other counters count: for each, its rules over the rows of our own ledger, as its source has them."""

from collections.abc import Mapping

from fxcost.conventions.calflops import calflops
from fxcost.conventions.deepspeed import deepspeed
from fxcost.conventions.fvcore import fvcore
from fxcost.conventions.ledger import Convention
from fxcost.conventions.ptflops import ptflops
from fxcost.conventions.thop import thop
from fxcost.conventions.torch_counter import torch_counter
from fxcost.conventions.torchinfo import torchinfo

CONVENTIONS: Mapping[str, Convention] = {
    "FlopCounterMode": torch_counter,
    "fvcore": fvcore,
    "thop": thop,
    "ptflops": ptflops,
    "calflops": calflops,
    "deepspeed": deepspeed,
    "torchinfo": torchinfo,
}
