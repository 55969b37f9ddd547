"""What other counters count: for each, its rules over the rows of our own ledger, as its source has them."""

from collections.abc import Mapping

from fxcost.verify.conventions.calflops import calflops
from fxcost.verify.conventions.deepspeed import deepspeed
from fxcost.verify.conventions.fvcore import fvcore
from fxcost.verify.conventions.ledger import Convention
from fxcost.verify.conventions.ptflops import ptflops
from fxcost.verify.conventions.thop import thop
from fxcost.verify.conventions.torch_counter import torch_counter
from fxcost.verify.conventions.torchinfo import torchinfo

CONVENTIONS: Mapping[str, Convention] = {
    "FlopCounterMode": torch_counter,
    "fvcore": fvcore,
    "thop": thop,
    "ptflops": ptflops,
    "calflops": calflops,
    "deepspeed": deepspeed,
    "torchinfo": torchinfo,
}
