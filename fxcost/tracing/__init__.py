"""From a model to a traced graph; the one folder that sees torch.export and symbolic sizes of torch."""

from fxcost.tracing.answering import as_exported, lacks_data
from fxcost.tracing.capture import (
    TraceTimeout,
    loaded_program,
    materialized,
    program_arguments,
    record_module,
    rehearse,
    trace_module,
    trace_program,
)
from fxcost.tracing.checking import Mismatch
from fxcost.tracing.examples import arguments_like
from fxcost.tracing.reading import Traced
from fxcost.tracing.recording import without_memory
from fxcost.tracing.replaying import Entangled, Held
from fxcost.tracing.restoring import untouched
from fxcost.tracing.sizes import Refusal, TraceError

__all__ = [
    "Entangled",
    "Held",
    "Mismatch",
    "Refusal",
    "TraceError",
    "TraceTimeout",
    "Traced",
    "arguments_like",
    "as_exported",
    "lacks_data",
    "loaded_program",
    "materialized",
    "program_arguments",
    "record_module",
    "rehearse",
    "trace_module",
    "trace_program",
    "untouched",
    "without_memory",
]
