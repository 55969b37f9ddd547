"""Images read between their pixels or resized, and signals transformed."""

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import torch

from tests.table.counting import (
    Number,
    drawn,
    floor,
    larger,
    mac,
    numbers,
    places,
    remainder,
    rounded,
    smaller,
)
from tests.table.entries import Cost, Entry, counted, unknown

aten = torch.ops.aten
KEYS = -0.75
"""Keys' constant, as torch takes it."""

# Weights of the neighbours of a coordinate, each with its distance to the first of them


def linear(coordinate: float) -> tuple[int, list[float]]:
    low = floor(coordinate)
    beyond = coordinate - low
    return int(low), [1 - beyond, beyond]


def nearest(coordinate: float) -> tuple[int, list[float]]:
    return int(rounded(coordinate)), [Number(1)]


def cubic(coordinate: float) -> tuple[int, list[float]]:
    """Keys' polynomials by Horner's rule, at four distances; what is made of the constant alone is done once."""
    low = floor(coordinate)
    beyond = coordinate - low
    short = 1 - beyond
    far = [outer(beyond + 1), outer(short + 1)]
    return int(low) - 1, [far[0], inner(beyond), inner(short), far[1]]


def inner(x: float) -> float:
    return ((KEYS + 2) * x - (KEYS + 3)) * x * x + 1


def outer(x: float) -> float:
    return ((KEYS * x - 5 * KEYS) * x + 8 * KEYS) * x - 4 * KEYS


MODES: tuple[Callable[[float], tuple[int, list[float]]], ...] = (linear, nearest, cubic)
"""By torch's numbers: bilinear, nearest, bicubic."""


def to_pixels(place: float, size: int, *, align: bool) -> float:
    return (place + 1) / 2 * (size - 1) if align else ((place + 1) * size - 1) / 2


def bounded(coordinate: float, size: int) -> float:
    return smaller(larger(coordinate, 0), size - 1)


def reflected(coordinate: float, size: int, *, align: bool) -> float:
    """As torch does it: how far from the first border, how many times across, and from which side; then bounds."""
    low, span = (0, size - 1) if align else (-0.5, size)
    within = abs(coordinate - low)
    extra = remainder(within, span)
    crossed = floor(within / span)
    turned = span - extra if remainder(crossed, 2) else without_turn(extra)
    return bounded(turned + low, size)


def without_turn(extra: float) -> float:
    """The branch that costs less is counted as the other."""
    Number.done += 1
    return extra


PADDINGS: tuple[Callable[..., float], ...] = (
    lambda coordinate, _size, *, align: coordinate,
    lambda coordinate, size, *, align: bounded(coordinate, size),  # noqa: PLW0108  # it takes no align
    reflected,
)
"""By torch's numbers: zeros, border, reflection."""


def sampled(image: torch.Tensor, grid: torch.Tensor, mode: int, padding: int, align: bool) -> torch.Tensor:
    """Coordinates, weights and their products once a position; for each channel products and the sums between them."""
    batch, channels, *sizes = image.shape
    out = torch.zeros(batch, channels, *grid.shape[1:-1], dtype=torch.float64)
    for example, *place in places(grid.shape[:-1]):
        spots = numbers(grid[example][tuple(place)])[::-1]  # the last dimension comes first in a grid
        spots = [to_pixels(spot, size, align=align) for spot, size in zip(spots, sizes, strict=True)]
        spots = [PADDINGS[padding](spot, size, align=align) for spot, size in zip(spots, sizes, strict=True)]
        filters = [MODES[mode](spot) for spot in spots]
        at = [[first + i for i in range(len(weights))] for first, weights in filters]
        taps = list(zip(product(*at), product(*(weights for _, weights in filters)), strict=True))
        joined = [(tap, joint(weights) if len(taps) > 1 else 1) for tap, weights in taps]
        for channel in range(channels):
            read = [
                (Number(image[example, channel][tap].item()) if inside(tap, sizes) else Number(0), weight)
                for tap, weight in joined
            ]
            out[example, channel][tuple(place)] = float(mixed(read))
    return out


def inside(tap: Sequence[int], sizes: Sequence[int]) -> bool:
    return all(0 <= i < size for i, size in zip(tap, sizes, strict=True))


def joint(weights: Sequence[float]) -> float:
    result = weights[0]
    for weight in weights[1:]:
        result = result * weight
    return result


def mixed(read: Sequence[tuple[float, float]]) -> float:
    """One pixel is copied."""
    if len(read) == 1:
        return read[0][0]
    products = [value * weight for value, weight in read]
    whole = products[0]
    for one in products[1:]:
        whole = whole + one
    return whole


def samplings() -> list[Entry]:
    image, volume = drawn(2, 2, 6, 7), drawn(1, 2, 4, 5, 3)
    grid = torch.tensor([[-0.3, 0.2], [0.45, -0.1], [0.05, 0.3]], dtype=torch.float64).repeat(2, 1, 1)[:, None]
    outside = grid * 3
    space = torch.tensor([[-0.3, 0.2, 0.4], [0.45, -0.1, 0.25]], dtype=torch.float64)[None, None, None]
    entries = [
        counted(operator, sampled, image, spots, mode, padding, align, case=f"{mode} {padding} {align}")
        for operator in (aten.grid_sampler.default, aten.grid_sampler_2d.default)
        for mode, padding, spots in (
            (0, 0, outside),
            (0, 1, outside),
            (0, 2, outside),
            (1, 0, grid),
            (1, 2, outside),
            (2, 0, grid),
        )
        for align in (False, True)
    ]
    return [
        *entries,
        counted(aten.grid_sampler_3d.default, sampled, volume, space, 0, 0, False),
        counted(aten.grid_sampler.default, sampled, volume, space, 0, 1, True, case="of a volume"),
        counted(aten.grid_sampler_3d.default, sampled, volume, space, 1, 0, True, case="nearest"),
        *(
            unknown(aten.grid_sampler_2d.default, image, grid, 2, padding, False, case=str(padding))
            for padding in (1, 2)
        ),
        counted(aten.col2im.default, folded, drawn(2, 8, 6), [3, 4], [2, 2], [1, 1], [0, 0], [1, 1]),
        deformed(masked=True),
        deformed(masked=False),
    ]


def folded(columns: torch.Tensor, size: Sequence[int], kernel: Sequence[int], *_: Any) -> list[float]:
    """Each element of a column is added where it belongs."""
    across = size[1] - kernel[1] + 1
    image: dict[tuple[int, ...], float] = {place: Number(0) for place in places((2, 2, *size))}
    for batch, row, column in places(columns.shape):
        channel, (down, right) = row // 4, divmod(row % 4, 2)
        top, left = divmod(column, across)
        place = batch, channel, top + down, left + right
        image[place] = image[place] + columns[batch, row, column].item()
    return [float(value) for value in image.values()]


def deformed(*, masked: bool) -> Entry:
    """The paper's loop (arXiv:1811.11168): two groups of offsets, taps of 2 by 3, 4 to 6 channels, in 2 groups of weights.

    Each tap's position is its offset's two sums, two linear weights, and the four products of weights; each channel
    there is mixed of four pixels, and takes the mask's product; then each meets its weight of each output channel.
    """
    image, weight = drawn(2, 4, 5, 6), drawn(6, 2, 2, 3)
    offset, mask = drawn(2, 2 * 2 * 6, 4, 4) / 5, drawn(2, 2 * 6, 4, 4) / 4

    def cost() -> Cost:
        Number.done = Number.macs = 0
        for example, top, left in places((2, 4, 4)):
            for index, (down, right) in enumerate(places((2, 3))):
                taken: list[float] = []
                for group in range(2):
                    moved = numbers(offset[example, (group * 6 + index) * 2 : (group * 6 + index) * 2 + 2, top, left])
                    (y, below), (x, beside) = (
                        linear(gap + start) for gap, start in zip(moved, (top + down, left + right), strict=True)
                    )
                    corners = [(y + j, x + i, below[j] * beside[i]) for j in range(2) for i in range(2)]
                    for channel in (2 * group, 2 * group + 1):
                        plane = image[example, channel]
                        value = mixed(
                            [
                                (Number(plane[j, i].item()) if inside((j, i), (5, 6)) else Number(0), w)
                                for j, i, w in corners
                            ]
                        )
                        taken.append(value * mask[example, group * 6 + index, top, left].item() if masked else value)
                for channel in range(6):
                    for source in range(2):
                        mac(0, taken[channel // 3 * 2 + source], weight[channel, source, down, right].item())
        return Cost(macs=Number.macs, vector=Number.done)

    named = {"input": image, "weight": weight, "offset": offset, "mask": mask, "n_offset_grps": 2, "use_mask": masked}
    return Entry("torchvision.deform_conv2d.default", cost, (), named, drawn(2, 6, 4, 4), f"masked={masked}")


# Resizing


def resized(taps: Callable[[float], tuple[int, list[float]]]) -> Callable[..., Any]:
    """Weights are once a place; each channel takes products of the neighbours, the border's repeated, and sums between."""

    def resize(x: torch.Tensor, out: Sequence[int], *_: Any) -> list[float]:
        result = []
        sizes = x.shape[2:]
        for place in places((*x.shape[:2], *out)):
            before = Number.done
            filters = [taps((i + 0.5) * size / n - 0.5) for i, n, size in zip(place[2:], out, sizes, strict=True)]
            spots = [
                [min(max(first + i, 0), size - 1) for i in range(len(w))]
                for (first, w), size in zip(filters, sizes, strict=True)
            ]
            joined = [math.prod(map(float, weights)) for weights in product(*(w for _, w in filters))]
            Number.done = before
            plane = x[place[0], place[1]]
            read = [Number(plane[at].item()) for at in product(*spots)]
            result.append(mixed(list(zip(read, joined, strict=True))))
        return result

    return resize


def from_inside(coordinate: float) -> tuple[int, list[float]]:
    return linear(max(coordinate, 0))


def first_of(coordinate: float) -> tuple[int, list[float]]:
    """The pixel that a place falls into."""
    return math.floor(coordinate + 0.5), [1.0]


def lit(operator: Any, before: Sequence[int], after: Sequence[int], *, align: bool = False) -> Entry:
    """Windows are read off from what torch does to single lit pixels: rows first, then columns.

    Of each two sizes one is even: no pixel then falls where its filter is zero, and would not be seen.
    """

    def windows(size: int, new: int) -> list[int]:
        pixels = torch.eye(size, dtype=torch.float64)[:, None, None]
        responses = operator(pixels, [1, new], align)
        return (responses[:, 0, 0] != 0).sum(0).tolist()

    def passed(sizes: Sequence[int], lines: int) -> int:
        """For each line and window the products of its pixels, and the sums between them."""
        Number.done = 0
        for _ in range(lines):
            for size in sizes:
                mixed([(Number(1), 1.0)] * size) if size > 1 else Number(1) * 1
        return Number.done

    def cost() -> Cost:
        (height, width), (new_height, new_width) = before, after
        across = passed(windows(width, new_width), 3 * height)
        down = passed(windows(height, new_height), 3 * new_width)
        return Cost(vector=across + down)

    return Entry(operator, cost, (drawn(1, 3, *before), list(after), align), {}, None, f"{before} to {after}, {align}")


def resizings() -> list[Entry]:
    sizes = (5, 4, 3), (7, 9, 8)
    copied = aten._upsample_nearest_exact1d, aten._upsample_nearest_exact2d, aten._upsample_nearest_exact3d
    entries: list[Entry] = []
    for dims, packet in enumerate(copied, start=1):
        entries.append(counted(packet.default, resized(first_of), drawn(1, 2, *sizes[0][:dims]), list(sizes[1][:dims])))
    linears = aten.upsample_linear1d.default, aten.upsample_bilinear2d.default, aten.upsample_trilinear3d.default
    for dims, operator in enumerate(linears, start=1):
        x, out = drawn(1, 2, *sizes[0][:dims]), list(sizes[1][:dims])
        entries.append(counted(operator, resized(from_inside), x, out, False))
    entries.append(counted(aten.upsample_bicubic2d.default, resized(cubic), drawn(1, 2, 5, 4), [7, 9], False))
    smooth = (
        aten._upsample_bilinear2d_aa.default,
        aten._upsample_bicubic2d_aa.default,
        aten._upsample_lanczos2d_aa.default,
    )
    for operator in smooth:
        entries += [
            lit(operator, (12, 13), (5, 6)), lit(operator, (8, 10), (3, 7)), lit(operator, (5, 7), (8, 10)),
            lit(operator, (12, 13), (5, 6), align=True), lit(operator, (5, 7), (8, 10), align=True),
            lit(operator, (12, 13), (1, 6), align=True),
            lit(operator, (11, 13), (2, 6), align=True),
            unknown(operator, drawn(1, 2, 4, 6), [3, 3], False, 0.7, 0.5),
        ]  # fmt: skip
    return [*entries, unknown(aten._upsample_bilinear2d_aa.vec, drawn(1, 2, 4, 6), None, False, [0.5, 0.5])]


# Fourier transforms: benchFFT counts 5·N·log2 N, https://www.fftw.org/speed/method.html, half of that where a side is real

EIGHT = 5 * 8 * 3
SIXTEEN = 5 * 16 * 4
TWELVE = 215
"""5 · 12 · log2 12 = 215.1, to whole FLOPs."""
Z, R = torch.complex(drawn(3, 8), drawn(3, 8).flip(0)), drawn(3, 8)


def published(operator: Any, flops: int, *given: Any, case: str = "", **named: Any) -> Entry:
    return Entry(operator, lambda: Cost(vector=flops), given, named, None, case)


def transforms() -> list[Entry]:
    """Of 3 rows of 8 points, or of 3 of 2 by 4."""
    whole, half = 3 * EIGHT, 3 * EIGHT // 2
    plane, real_plane = Z.reshape(3, 2, 4), R.reshape(3, 2, 4)
    spectrum, plane_spectrum = Z[:, :5].clone(), plane[..., :3].clone()
    fft = {name: getattr(aten, f"fft_{name}").default for name in (
        "fft", "ifft", "fft2", "ifft2", "fftn", "ifftn", "rfft", "irfft", "rfft2", "irfft2", "rfftn", "irfftn",
        "hfft", "ihfft", "hfft2", "ihfft2", "hfftn", "ihfftn")}  # fmt: skip
    entries = [
        *(published(fft[name], whole, Z) for name in ("fft", "ifft")),
        *(published(fft[name], whole, plane) for name in ("fft2", "ifft2")),
        *(published(fft[name], whole, plane, None, [1, 2]) for name in ("fftn", "ifftn")),
        *(published(fft[name], half, R) for name in ("rfft", "ihfft")),
        *(published(fft[name], half, spectrum) for name in ("irfft", "hfft")),
        *(published(fft[name], half, real_plane) for name in ("rfft2", "ihfft2")),
        *(published(fft[name], half, plane_spectrum) for name in ("irfft2", "hfft2")),
        *(published(fft[name], half, real_plane, None, [1, 2]) for name in ("rfftn", "ihfftn")),
        *(published(fft[name], half, plane_spectrum, None, [1, 2]) for name in ("irfftn", "hfftn")),
        published(fft["fft"], half, R, case="of real ones"),
        published(fft["fft"], 3 * TWELVE, torch.complex(drawn(3, 12), drawn(3, 12))),
        published(fft["fft"], 8 * (5 * 4 * 2), torch.complex(drawn(4, 8), drawn(4, 8)), None, 0, case="down"),
        published(fft["rfft"], 3 * SIXTEEN // 2, R, 16, case="padded"),
        published(fft["rfft2"], 3 * EIGHT // 2, drawn(3, 5, 5), [2, 4], case="cut"),
        published(fft["rfft2"], half, real_plane, [2, -1], case="of the last size as it is"),
        published(fft["rfftn"], SIXTEEN // 2, drawn(2, 2, 4), case="of all"),
        published(
            fft["fftn"], 3 * EIGHT, torch.complex(drawn(3, 3, 5), drawn(3, 3, 5)), [2, 4], case="of the last ones"
        ),
        published(aten._fft_c2c.default, whole, Z, [1], 0, True),
        published(aten._fft_r2c.default, half, R, [1], 0, True),
        published(aten._fft_r2c.default, half, R, [1], 0, False, case="of both sides"),
        published(aten._fft_c2r.default, half, spectrum, [1], 0, 8),
    ]
    return [*entries, *short_times()]


def short_times() -> list[Entry]:
    """A signal of 20 has (20 − 8)/4 + 1 = 4 frames of 8; each meets its window, if any, and goes through a real FFT.

    Back again a frame of the spectrum goes through a real FFT, meets the window and is added where it belongs; the
    window's squares are added up likewise, once for all signals, and divide each element of each.
    """
    signal, window = drawn(3, 20), torch.hann_window(8, dtype=torch.float64) + 0.1
    frames = 3 * 4
    spectrum = torch.stft(signal, 8, 4, window=window, center=False, return_complex=True)

    def back() -> Cost:
        Number.done = 0
        squares: list[float] = [Number(0)] * 20
        held = numbers(window)
        squared_window = [w * w for w in held]
        for frame in range(4):
            for i, value in enumerate(squared_window):
                squares[4 * frame + i] = squares[4 * frame + i] + value
        for _signal in range(3):
            sums: list[float] = [Number(0)] * 20
            for frame in range(4):
                for i, weight in enumerate(held):
                    sums[4 * frame + i] = sums[4 * frame + i] + weight * Number(1)
            for value, norm in zip(sums, squares, strict=True):
                _ = value / norm
        return Cost(vector=Number.done + frames * EIGHT // 2)

    return [
        published(aten.stft.default, frames * (8 + EIGHT // 2), signal, 8, 4, None, window, return_complex=True),
        published(aten.stft.default, frames * EIGHT // 2, signal, 8, 4, case="without a window", return_complex=True),
        unknown(aten.stft.default, torch.complex(signal, signal), 8, 4, None, window, False, False, True),
        unknown(aten.stft.default, signal, 8, 4, None, window, False, False, True, case="of both sides"),
        Entry(aten.istft.default, back, (spectrum, 8, 4, None, window), {"center": False}),
        unknown(aten.istft.default, spectrum, 8, 4, case="without a window"),
        unknown(aten.istft.default, torch.cat([spectrum, spectrum[:, :3]], 1), 8, 4, None, window, False, False, False, case="of both sides"),
        unknown(aten.istft.default, torch.cat([spectrum, spectrum[:, :3]], 1), 8, 4, None, window, False, False, False, None, True, case="complex"),
    ]  # fmt: skip


ENTRIES = [*samplings(), *resizings(), *transforms()]
