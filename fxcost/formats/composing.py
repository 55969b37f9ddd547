"""Schemes as the command line and Python name them: ``w4a16``, ``my.toml``, ``weights=int4:g128,cache=fp8,compute=bf16``."""

from collections.abc import Iterable
from dataclasses import replace

from fxcost.errors import FxcostError, near_matches
from fxcost.formats.format_text import format_named
from fxcost.formats.number_format import NumberFormat
from fxcost.formats.scheme_sheets import load_scheme
from fxcost.formats.schemes import AS_IS, Scheme, StorageRule
from fxcost.machines.sheets import precision_named

KEYS = ("weights", "head", "embeddings", "vectors", "cache", "activations", "compute", "elementwise")
"""What ``KEY=FORMAT`` may change; a pattern of names, such as ``conv1.*``, changes the weights that it fits."""
NARROW = 16
"""Formats of fewer bits, and those with scales, are for the matrices of products alone."""


def schemes_named(texts: Iterable[str]) -> tuple[Scheme, ...]:
    """The schemes of texts, each of which may name several, apart by commas; ``KEY=FORMAT`` belongs to what stands before it.

    Raises `FxcostError` naming what is no scheme, key or format, and what is given twice.
    """
    found = tuple(_composed(items) for text in texts for items in _apart(text))
    names = [scheme.name for scheme in found]
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise FxcostError(f"--precision names {', '.join(twice)} twice; name each once")
    return found


def scheme_named(text: str) -> Scheme:
    """The one scheme of a text. Raises `FxcostError` as `schemes_named`, and for several."""
    first, *more = schemes_named([text])
    if more:
        raise FxcostError(f"precision {text[:60]!r} names {1 + len(more)} schemes, where one is asked for")
    return first


def _apart(text: str) -> list[list[str]]:
    """The items of each scheme that a text names."""
    items = [item.strip() for item in text.split(",")]
    if not all(items):
        raise FxcostError(
            f"precision {text[:60]!r} has an empty part; it is of the form w4a16 or weights=int4:g128,cache=fp8"
        )
    schemes: list[list[str]] = []
    for item in items:
        if not schemes or "=" not in item.partition(":")[0]:
            schemes.append([item])
        else:
            schemes[-1].append(item)
    return schemes


def _composed(items: list[str]) -> Scheme:
    is_based = "=" not in items[0].partition(":")[0]
    base = load_scheme(items[0]) if is_based else None
    given: dict[str, str] = {}
    for item in items[1:] if is_based else items:
        key, _, value = (part.strip() for part in item.partition("="))
        known = key if any(letter in key for letter in "*.?[") else _key(key)
        if known in given:
            raise FxcostError(f"precision gives {known} twice, {given[known]} and {value}; give it once")
        given[known] = value
    return _changed(base, given, ",".join(items)) if given else load_scheme(items[0])


def _key(text: str) -> str:
    if text.lower() not in KEYS:
        raise FxcostError(
            f"precision {text[:40]!r} is no key{near_matches(text[:40], KEYS)}; known: {', '.join(KEYS)}, and patterns of names such as 'conv1.*'"
        )
    return text.lower()


def _changed(base: Scheme | None, given: dict[str, str], name: str) -> Scheme:
    """A scheme whose own rules stand behind those of the keys given."""
    formats = {key: format_named(value) for key, value in given.items() if key not in ("compute", "elementwise")}
    rules = [
        StorageRule(kept, roles=("weight",), names=(key,), compute=kept.computes, asked=True)
        for key, kept in formats.items()
        if key not in KEYS
    ]
    rules += [
        replace(rule, format=formats[key])
        for key, rule in (
            ("head", StorageRule(AS_IS, roles=("weight",), head=True)),
            ("embeddings", StorageRule(AS_IS, roles=("weight",), operators=("embedding", "embedding_bag"))),
            ("vectors", StorageRule(AS_IS, roles=("weight",), matrices=False)),
            ("weights", StorageRule(AS_IS, roles=("weight",), products=True)),
            ("cache", StorageRule(AS_IS, roles=("state",))),
            ("activations", StorageRule(AS_IS, roles=("activation", "input", "output"))),
        )
        if key in formats
    ]
    rest = _rest(formats) if base is None else None
    rules += [StorageRule(rest, roles=("weight",))] if rest else []
    matrix = precision_named(given["compute"]) if "compute" in given else base.matrix if base else ""
    kept_rules = base.rules if base else (StorageRule(AS_IS),)
    if "compute" in given:
        kept_rules = tuple(replace(rule, compute="") for rule in kept_rules)
    return Scheme(
        name, (*rules, *kept_rules), matrix, _elementwise(base, given, formats, matrix), title=_title(base, given)
    )


def _rest(formats: dict[str, NumberFormat]) -> NumberFormat | None:
    """What weights are kept in that no product multiplies by, where nothing says so: as the others, or as activations are."""
    for key in ("weights", "activations"):
        kept = formats.get(key)
        if kept is not None and kept.is_plain and kept.bits >= NARROW:
            return kept
    return None


def _elementwise(base: Scheme | None, given: dict[str, str], formats: dict[str, NumberFormat], matrix: str) -> str:
    """What all but contractions computes in: as told, as the scheme has it, or as activations are stored."""
    if "elementwise" in given:
        return precision_named(given["elementwise"])
    if "activations" in formats and formats["activations"].computes:
        return formats["activations"].computes
    return base.vector if base else matrix


def _title(base: Scheme | None, given: dict[str, str]) -> str:
    changes = ", ".join(f"{key} {value}" for key, value in given.items())
    return f"{base.title}; {changes}" if base else changes
