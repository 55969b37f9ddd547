"""Files that users name: read within bounds, and written whole or not at all."""

import os
import stat
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from fxcost.errors import FxcostError

LARGEST_FILE = 64 * 2**20
"""Bytes; a 126-layer model takes about 10 MB."""


def checked_file(path: Path, kind: str, largest: int | None = LARGEST_FILE) -> Path:
    """The path of a regular file. Raises `FxcostError` for anything else, which might never end, and for more bytes than any ``kind`` has."""
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        raise FxcostError(f"cannot read {path}: {_why(error)}") from error
    if stat.S_ISDIR(found.st_mode):
        raise FxcostError(f"cannot read {path}: it is a directory; name a {kind}")
    if not stat.S_ISREG(found.st_mode):
        raise FxcostError(f"cannot read {path}: it is a device or a pipe; name a {kind} that is a regular file")
    if largest is not None and found.st_size > largest:
        raise FxcostError(f"{path} is larger than {largest // 2**10:,} KiB; no {kind} is")
    return path


def read_file(path: Path, kind: str, largest: int = LARGEST_FILE) -> bytes:
    """The content of a file; raises `FxcostError` as `checked_file` does, and where it cannot be read."""
    try:
        return checked_file(path, kind, largest).read_bytes()
    except OSError as error:
        raise FxcostError(f"cannot read {path}: {_why(error)}") from error


def write_file(path: Path, content: bytes) -> None:
    """Write a file: a regular one under another name beside it and then renamed, with the mode that it had.

    A symbolic link stays, and the file that it leads to is written; devices and pipes are written to as they are.
    Raises `FxcostError` where nothing can be written.
    """
    try:
        target = checked_target(path)
        if (stream := _standard_stream(target)) is not None:
            _write_all(os.dup(stream), content)
        elif target.exists() and not target.is_file():
            _write_all(os.open(target, os.O_WRONLY), content)
        else:
            _write_aside(target, content)
    except OSError as error:
        raise FxcostError(f"cannot write {path}: {_why(error)}") from error


def checked_target(path: Path) -> Path:
    """Where a file of this name is written. Raises `FxcostError` where none can be: a directory, a link that leads nowhere."""
    try:
        if path.is_dir():
            raise FxcostError(f"cannot write {path}: it is a directory; name a file in it")
        if path.is_symlink() and not path.exists():
            raise FxcostError(f"cannot write {path}: it is a link to {path.readlink()}, which is not there")
        if path.exists():
            if not os.access(path, os.W_OK):
                raise FxcostError(f"cannot write {path}: Permission denied")
            return path.resolve() if path.is_file() else path
        path.parent.stat()
    except (OSError, ValueError) as error:
        raise FxcostError(f"cannot write {path}: {_why(error)}") from error
    return path


def _why(error: OSError | ValueError) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)


def _standard_stream(path: Path) -> int | None:
    """The number of the stream that a path such as /dev/stdout leads to: a file that it goes to is not to be replaced."""
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        with suppress(OSError, AttributeError):  # there may be no such file yet, and no such stream
            if os.path.samestat(path.stat(), os.fstat(number)):
                stream.flush()
                return number
    return None


def _write_all(handle: int, content: bytes) -> None:
    with os.fdopen(handle, "wb") as file:
        file.write(content)


def _write_aside(path: Path, content: bytes) -> None:
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=".fxcost-")
    try:
        _write_all(handle, content)
        _as_before(path, Path(aside))
        Path(aside).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(aside).unlink()
        raise


def _as_before(path: Path, aside: Path) -> None:
    """Give a file the owner and mode of the one that it replaces, or a new file's."""
    try:
        before = path.stat()
    except FileNotFoundError:
        aside.chmod(0o666 & ~_umask())
        return
    if hasattr(os, "chown"):
        with suppress(PermissionError):  # another user's file in a folder of one's own
            os.chown(aside, before.st_uid, before.st_gid)
    aside.chmod(stat.S_IMODE(before.st_mode))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
