"""What is measured of a traced graph: one pass a file. Kept in the top-level folder ``passes/``."""

from fxcost.passes.flops import FLOPS, flops, flops_pass
from fxcost.passes.parameters import PARAMETERS, parameters
from fxcost.passes.traffic import TRAFFIC, traffic, traffic_pass
from fxcost.passes.verdict import VERDICT, verdict

__all__ = [
    "FLOPS",
    "PARAMETERS",
    "TRAFFIC",
    "VERDICT",
    "flops",
    "flops_pass",
    "parameters",
    "traffic",
    "traffic_pass",
    "verdict",
]
