"""What passes read and write on the nodes of a traced graph, and their chain."""

from fxcost.graph.annotations import (
    DIES,
    KIND,
    LAYER,
    OUTPUTS,
    PARAMETER,
    REACH,
    SIZE,
    STATE,
    TRANSIENT,
    WEIGHT,
    Key,
    Layer,
    TensorSpec,
    operations,
    placeholders,
)

__all__ = [
    "DIES",
    "KIND",
    "LAYER",
    "OUTPUTS",
    "PARAMETER",
    "REACH",
    "SIZE",
    "STATE",
    "TRANSIENT",
    "WEIGHT",
    "Key",
    "Layer",
    "TensorSpec",
    "operations",
    "placeholders",
]
