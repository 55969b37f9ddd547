"""Errors a user can mend: each is told in one or two lines, with an exit code."""

from collections.abc import Iterable
from difflib import get_close_matches


class FxcostError(Exception):
    """Something the user named is wrong; the message names it and the next step."""

    exit_code = 1


class UnknownOperatorsError(FxcostError):
    """The model calls operators without a rule, and the user asked for none."""

    exit_code = 3


class UsageError(FxcostError):
    """The options do not go together."""

    exit_code = 2


def printable(text: str) -> str:
    r"""The text on one line and without what a terminal obeys: control characters are written as ``\x1b``.

    Characters that turn the direction of text, and halves of characters, are written so too.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


MOST_MATCHES = 6


def near_matches(name: str, known: Iterable[str]) -> str:
    """A clause such as ``; near: resnet50, resnet34`` or nothing when nothing is near."""
    names = sorted(known)
    holding = [each for each in names if name.lower() in each.lower()]
    close = get_close_matches(name.lower(), names, n=MOST_MATCHES, cutoff=0.6)
    found = list(dict.fromkeys([*holding, *close]))[:MOST_MATCHES]
    return f"; near: {', '.join(found)}" if found else ""
