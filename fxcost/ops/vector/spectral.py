"""Fourier transforms, by the count that FFT benchmarks publish."""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# sympy and torch are typed in part.

import math
from collections.abc import Sequence
from typing import Any

import sympy
import torch

from fxcost.ops.rules import Call, op

aten = torch.ops.aten

COMPLEX_FFT = 5
"""A complex transform of N points counts as 5 · N · log2 N (benchFFT, https://www.fftw.org/speed/method.html)."""
REAL_FFT = 2.5
"""One with a real side as half of that; same source."""
REASON = (
    "5·N·log2 N for each complex transform of N points, half of that where one side is real, rounded to whole FLOPs: "
    "the convention of FFT benchmarks, whatever the algorithm; scaling not counted"
)
WHY = "an FFT of a symbolic number of points costs N·log2 N, which no expression here can hold"


def transform(points: int, factor: float) -> int:
    """FLOPs of one transform over ``points`` points, to the nearest whole one."""
    return round(factor * points * math.log2(points))


def _dims(call: Call, rank: int) -> list[int]:
    """The transformed dimensions: named by the call, else the last ones that ``s`` gives sizes for, else all."""
    dims = call["dim"]
    if dims is None:
        dims = range(-len(call["s"]), 0) if call.arguments.get("s") else range(rank)
    dims = [dims] if isinstance(dims, int) else list(dims)
    return [d % rank for d in dims]


def _given(call: Call) -> Any:
    """The size asked for in the last transformed dimension, or None."""
    sizes = call.arguments.get("n", call.arguments.get("s"))
    return sizes[-1] if isinstance(sizes, Sequence) and sizes else sizes or None


def _halves(call: Call) -> bool:
    """Whether the transform keeps only the half of the spectrum that a real input needs."""
    name = call.operator.split(".")[1]
    return name.startswith(("fft_rfft", "fft_ihfft")) or (name == "_fft_r2c" and bool(call["onesided"]))


def _points(call: Call) -> list[sympy.Expr]:
    """Sizes of the transformed dimensions, after padding or cutting and before a spectrum is halved."""
    dims = _dims(call, len(call.output.shape))
    sizes = [call.output.shape[d] for d in dims]
    if _halves(call):
        asked = _given(call)
        sizes[-1] = call["self"].shape[dims[-1]] if asked in (None, -1) else sympy.Integer(1) * asked
    return sizes


def _is_symbolic(call: Call) -> bool:
    return not all(size.is_Integer for size in _points(call))


@op(
    aten.fft_fft, aten.fft_ifft, aten.fft_fft2, aten.fft_ifft2, aten.fft_fftn, aten.fft_ifftn,
    aten.fft_rfft, aten.fft_irfft, aten.fft_rfft2, aten.fft_irfft2, aten.fft_rfftn, aten.fft_irfftn,
    aten.fft_hfft, aten.fft_ihfft, aten.fft_hfft2, aten.fft_ihfft2, aten.fft_hfftn, aten.fft_ihfftn,
    aten._fft_c2c, aten._fft_r2c, aten._fft_c2r,
    reason=REASON, unknown_when=_is_symbolic, unknown_why=WHY, numbers="complex",
)  # fmt: skip
def fourier_transform(call: Call) -> sympy.Expr:
    shape, dims = call.output.shape, _dims(call, len(call.output.shape))
    others = sympy.Mul(*(size for axis, size in enumerate(shape) if axis not in dims))
    is_real = not (call.output.is_complex and call["self"].is_complex)
    return others * transform(math.prod(map(int, _points(call))), REAL_FFT if is_real else COMPLEX_FFT)


def _frames(call: Call) -> sympy.Expr:
    """Windows over all signals of a batch: a spectrum has its frames last, and its signals before the frequencies."""
    spectrum = call["self"] if "istft" in call.operator else call.output
    return spectrum.elements / spectrum.shape[-2]


def _is_not_a_real_spectrum(call: Call) -> bool:
    complex_signal = call["self" if ".stft" in call.operator else "return_complex"]
    is_complex = complex_signal is True or (complex_signal is not False and complex_signal.is_complex)
    return is_complex or call["onesided"] is False


@op(
    aten.stft,
    reason=f"each frame meets the window, if one is given, then a real FFT: {REASON}",
    unknown_when=_is_not_a_real_spectrum, unknown_why="an stft of a complex signal, or of both sides", numbers="complex",
)  # fmt: skip
def short_time_transform(call: Call) -> sympy.Expr:
    points = call["n_fft"]
    windowed = 0 if call["window"] is None else points
    return _frames(call) * (windowed + transform(points, REAL_FFT))


@op(
    aten.istft,
    reason=f"each frame goes through a real FFT, meets the window and is added where it belongs; the windows' squares "
    f"are added up likewise, once, and divide the signal: {REASON}",
    unknown_when=lambda call: _is_not_a_real_spectrum(call) or call["window"] is None,
    unknown_why="an istft without a window, to a complex signal, or of both sides", numbers="complex",
)  # fmt: skip
def inverse_short_time_transform(call: Call) -> sympy.Expr:
    points, frames = call["n_fft"], _frames(call)
    overlapped = points * (1 + call["self"].shape[-1])
    return frames * (transform(points, REAL_FFT) + 2 * points) + overlapped + call.output.elements
