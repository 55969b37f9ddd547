"""Files as they were at a git revision."""

import subprocess

from fxcost.errors import FxcostError


def is_revision(text: str) -> bool:
    """Whether a text is of the form ``REV:path/to/file.json``."""
    revision, colon, path = text.partition(":")
    return bool(revision and colon) and revision != "hf" and path.endswith(".json")


def file_at(text: str) -> bytes:
    """The content of ``REV:path``, which `git show` reads; raises `FxcostError` with what git says where it cannot."""
    try:
        done = subprocess.run(["git", "show", text], capture_output=True, check=False)  # noqa: S603, S607  # no shell
    except OSError as error:
        raise FxcostError(f"{text}: git cannot be run ({error.strerror}); name a file instead") from error
    if done.returncode:
        said = (done.stderr.decode(errors="replace").strip().splitlines() or ["git show failed"])[-1]
        raise FxcostError(
            f"{text}: {said.removeprefix('fatal: ')}\n"
            "Paths count from the repository's root; a shallow checkout lacks other branches (in CI: fetch-depth: 0)"
        )
    return done.stdout
