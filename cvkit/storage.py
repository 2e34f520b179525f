"""Writes files so that a crash at any moment leaves either the old file or the new one."""

import atexit
import contextlib
import errno
import functools
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from cvkit.errors import CvkitError, DataError, MachineError, OutputError, UsageError

LOCK = ".lock"
"""Lock file in a folder; it contains the id of the process that holds the lock."""
LONGEST_NAME = 240
"""Maximum bytes of a name; file systems allow 255, and a suffix such as `.jpeg` may be added."""


def short_name(name: str, limit: int = LONGEST_NAME) -> str:
    """Return a file's name, shortened to `limit` bytes with a hash that keeps it unique."""
    content = os.fsencode(name)
    if len(content) <= limit:
        return name
    digest = hashlib.sha256(content).hexdigest()[:16]
    # If the cut divides a character, its first bytes are removed too.
    return f"{content[: limit - 17].decode(errors='ignore')}-{digest}"


def temporary_beside(path: Path, tail: str = ".tmp") -> Path:
    """Return a hidden temporary name next to a file, unique to the file and the process."""
    return path.with_name(f".{short_name(path.name, 200)}.{os.getpid()}{tail}")


def fsync_folder(folder: Path) -> None:
    """Flush the entries of a folder, so that a rename inside it survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def machine_errors(path: Path) -> Iterator[None]:
    """Turn a full disk, a quota or an unwritable place into an error that names the path.

    Raises:
        OutputError: the path is impossible: it is too long, or leads through a file.
        UsageError: the user may not write there.
        MachineError: the disk is full or fails.
    """
    names = {
        errno.ENAMETOOLONG: "its name is too long",
        errno.EISDIR: "it is a folder",
        errno.ENOENT: "there is no such folder",
        errno.EINVAL: "the file system does not allow this name",
        errno.EILSEQ: "the file system does not allow this name",
        errno.ELOOP: "its links form a loop",
    }
    try:
        yield
    except (NotADirectoryError, FileExistsError) as error:
        through = (p for p in reversed(path.parents) if os.path.lexists(p) and not p.is_dir())
        raise OutputError(
            f"cannot write {path}: {next(through, error.filename)} is not a folder",
            code="out.not_a_folder",
            hint="choose another --out",
        ) from error
    except OSError as error:
        if error.errno in names:
            raise OutputError(
                f"cannot write {path}: {names[error.errno]}",
                code="out.name",
                hint="choose another --out, or rename the input",
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            why = "the file system is read-only" if error.errno == errno.EROFS else "not permitted"
            raise UsageError(
                f"cannot write {path}: {why}", code="out.permission", hint="choose another --out"
            ) from error
        reasons = {
            errno.ENOSPC: "the disk is full",
            errno.EDQUOT: "the disk quota is used up",
            errno.EFBIG: "the file size limit is reached",
            errno.EIO: "the disk reported an error",
        }
        if error.errno not in reasons:
            raise
        free = ""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            there = next(place for place in [path, *path.parents] if os.path.exists(place))
            free = f" ({shutil.disk_usage(there).free / 2**20:.0f} MiB free)"
        raise MachineError(
            f"cannot write {path}: {reasons[error.errno]}{free}",
            code="machine.write",
            hint="free some space, or choose another --out",
        ) from error


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a stream whose content replaces the file only if it is complete.

    It is written to a temporary file next to it, followed by fsync, rename and fsync of the folder;
    files of any size are thus written atomically without being in memory.
    """
    path = Path(path)
    temporary = temporary_beside(path)
    with machine_errors(path):
        try:
            with open(temporary, "wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, path)
            fsync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_file(path: Path, content: bytes | str) -> None:
    """Write a file atomically."""
    with whole_file(path) as stream:
        stream.write(content.encode() if isinstance(content, str) else content)


def remove_temporaries(folder: Path) -> None:
    """Remove a killed process's half-written files and half-removed folders from a folder."""
    for path in folder.glob(".*.tmp"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def write_json(path: Path, value: object, indent: int | None = 1) -> None:
    """Write strict JSON atomically; NaN and infinity are refused, not written."""
    write_file(path, json.dumps(value, indent=indent, allow_nan=False) + "\n")


def write_json_list(path: Path, rows: Iterable[object]) -> None:
    """Write a list as strict JSON atomically, row by row, on one line."""
    with whole_file(path) as stream:
        before = b"["
        for row in rows:
            stream.write(before + json.dumps(row, allow_nan=False).encode())
            before = b", "
        stream.write(b"]\n" if before == b", " else b"[]\n")


def write_json_lists(path: Path, lists: Mapping[str, Iterable[object]]) -> None:
    """Write an object of lists as strict JSON atomically, row by row."""
    with whole_file(path) as stream:
        for number, (name, rows) in enumerate(lists.items()):
            stream.write(f"{', ' if number else '{'}{json.dumps(name)}: [".encode())
            for place, row in enumerate(rows):
                text = json.dumps(row, allow_nan=False)
                stream.write(f"{', ' if place else ''}{text}".encode())
            stream.write(b"]")
        stream.write(b"}\n")


def opencv_name(path: Path) -> str:
    """Return the name of a file for OpenCV, which crashes on bytes that are not text.

    Raises:
        DataError: it has such bytes.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{path}: the name is not valid UTF-8, so no video can have it",
            code="video.name",
            hint="rename the file, or its folder",
        ) from error
    return str(path)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content as 64 hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def cache_folder(name: str) -> Path:
    """Return the folder of that name in the user's cache; it may not exist yet.

    Raises:
        UsageError: the user has no home folder.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(base or Path.home() / ".cache") / "cvkit" / name
    except RuntimeError as error:
        raise UsageError(
            "no home folder was found for the cache",
            code="cache.home",
            hint="set XDG_CACHE_HOME to a folder",
        ) from error


def cache_trouble(name: str) -> str:
    """Return why a folder of the user's cache is not writable; "" if it is."""
    try:
        folder = cache_folder(name)
        with machine_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            place = temporary_beside(folder / "tried")
            place.touch()
            place.unlink()
    except CvkitError as error:
        return error.as_json()["message"]
    return ""


@functools.cache
def passing_folder(name: str) -> Path:
    """Return a temporary folder, removed at the end of the process, in place of a cache folder."""
    folder = tempfile.mkdtemp(prefix=f"cvkit-{name}-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def require_writable(folder: Path) -> None:
    """Check that a folder can be created or written to, without creating it.

    Raises:
        UsageError: the user may not.
    """
    there = next(
        place for place in (folder.absolute(), *folder.absolute().parents) if place.exists()
    )
    if there.is_dir() and not os.access(there, os.W_OK | os.X_OK):
        raise UsageError(
            f"cannot write {folder}: {there} is not writable",
            code="out.permission",
            hint="choose another --out",
        )


def new_numbered_folder(parent: Path, stem: str) -> Path:
    """Create and return `parent/stem-NNN` with the next number after all existing ones."""
    with machine_errors(parent):
        parent.mkdir(parents=True, exist_ok=True)
        while True:
            tails = (p.name.removeprefix(f"{stem}-") for p in parent.glob(f"{stem}-*"))
            number = max((int(tail) for tail in tails if tail.isdecimal()), default=0) + 1
            folder = parent / f"{stem}-{number:03d}"
            try:
                folder.mkdir()
            except FileExistsError:  # another process has taken the number
                continue
            return folder


_held: set[int] = set()


def _let_go() -> None:
    """Close a fork's copies of the locks, which must end with the process that took them."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


@contextlib.contextmanager
def held(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Lock a folder inside the block, so that other processes are refused.

    It is a lock of the operating system, which ends with the process in any case.

    Args:
        folder: exists.
        say: called if the file system has no locks, so that nothing is refused.

    Raises:
        UsageError: another process has locked the folder.
        MachineError: the folder cannot be written to.
    """
    path = folder / LOCK
    with machine_errors(path):
        descriptor = _locked(path, say)
    _held.add(descriptor)
    try:
        os.truncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        yield
    finally:
        if descriptor in _held:  # not in a fork
            _held.discard(descriptor)
            path.unlink(missing_ok=True)  # still locked: no other process can have taken it
            os.close(descriptor)


def _lock(descriptor: int) -> None:
    """Lock a file.

    Raises:
        BlockingIOError: another process has locked it.
        OSError: for example, the file system or the operating system has no locks.
    """
    try:
        import fcntl
    except ImportError as error:
        raise OSError(errno.ENOSYS, "this system has no file locks") from error
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _locked(path: Path, say: Callable[[str], None]) -> int:
    """Lock a lock file, if possible, and return its descriptor.

    Raises:
        UsageError: another process has locked it.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(descriptor)
            if _is_at(descriptor, path):
                return descriptor
        except BlockingIOError as error:
            holder = os.read(descriptor, 20).decode("ascii", "replace")
            who = f"process {holder}" if holder.isdecimal() else "another process"
            os.close(descriptor)
            raise UsageError(
                f"{path.parent} is in use by {who}",
                code="folder.in_use",
                hint="wait until it ends, or choose another folder",
            ) from error
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL):
                os.close(descriptor)
                raise
            say(f"{path.parent} cannot be locked here; make sure that no other process uses it")
            return descriptor
        os.close(descriptor)  # the holder has removed the file since it was opened


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def empty_folder(folder: Path) -> None:
    """Remove the content of an output folder, except its lock."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != LOCK:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def output_folder(
    folder: Path,
    *,
    reuse: bool,
    say: Callable[[str], None],
    hint: str = "choose another folder, or add --overwrite to replace files in it",
) -> Iterator[None]:
    """Create and lock an output folder; refuse one that is not empty unless `reuse`.

    Args:
        folder: that `--out` names.
        reuse: it need not be empty.
        say: see `held`.
        hint: if the folder is not empty.

    Raises:
        UsageError: the folder is not empty, in use, or the path is a file.
        MachineError: it cannot be written to.
    """
    if folder.is_file():
        raise UsageError(f"--out {folder} is a file", code="out.is_a_file", hint="give a folder")
    with machine_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with held(folder, say):
        if not reuse and any(path.name != LOCK for path in folder.iterdir()):
            raise UsageError(
                f"--out {folder} is not empty",
                code="out.not_empty",
                hint=hint,
            )
        yield
