"""What is computed once per machine and kept on disk: compiled kernels and radial tables.

Every entry starts with the hash of its content. Entries are written beside their place, under a
name that no other process takes, and renamed; no lock is needed, and machines may share a folder.
What is damaged is computed again, and where nothing can be written everything still works, only
slower.
"""

import hashlib
import os
import secrets
from contextlib import suppress
from pathlib import Path

_HASH_BYTES = 32


def cache_folder() -> Path:
    """FASTEQUI_CACHE, or the user's cache folder. Raises OSError for a user without a home."""
    if folder := os.environ.get("FASTEQUI_CACHE"):
        return Path(folder)
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "fastequi"
    try:
        return Path.home() / ".cache" / "fastequi"
    except RuntimeError as error:  # a container's user that no file of accounts knows
        raise FileNotFoundError("no home folder; set FASTEQUI_CACHE") from error


def read(name: str) -> bytes | None:
    """The content of an entry, or None when there is none or it is damaged."""
    try:
        stored = (cache_folder() / name).read_bytes()
    except OSError:
        return None
    digest, content = stored[:_HASH_BYTES], stored[_HASH_BYTES:]
    return content if hashlib.sha256(content).digest() == digest else None


def write(name: str, content: bytes) -> None:
    """Keep an entry, where that is possible."""
    with suppress(OSError):  # a read-only or full folder costs time, not correctness
        path = cache_folder() / name
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{name}.{secrets.token_hex(8)}")
        try:
            partial.write_bytes(hashlib.sha256(content).digest() + content)
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
