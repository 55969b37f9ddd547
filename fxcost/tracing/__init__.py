"""From a model to a traced graph; the one folder that sees torch.export and symbolic sizes of torch."""

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
from fxcost.tracing.environment.answers import as_exported, lacks_data
from fxcost.tracing.environment.restoration import untouched
from fxcost.tracing.export.examples import arguments_like
from fxcost.tracing.export.reading import Traced
from fxcost.tracing.recording.recorder import without_memory
from fxcost.tracing.recording.replay import Entangled, Held
from fxcost.tracing.recording.validation import Mismatch
from fxcost.tracing.sizes.naming import Refusal, TraceError

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
