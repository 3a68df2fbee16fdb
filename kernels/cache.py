"""What is computed once per machine and kept on disk: compiled kernels and radial tables.

Every entry starts with the hash of its content. Entries are written beside their place and
renamed, so runs that start together are safe; what is damaged is computed again, and where nothing
can be written everything still works, only slower.
"""

import hashlib
import os
import threading
from pathlib import Path

_HASH_BYTES = 32


def cache_folder() -> Path:
    """FASTEQUI_CACHE, or the user's cache folder."""
    if folder := os.environ.get("FASTEQUI_CACHE"):
        return Path(folder)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "fastequi"


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
    path = cache_folder() / name
    partial = path.with_name(f"{name}.{os.getpid()}.{threading.get_ident()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(hashlib.sha256(content).digest() + content)
        partial.replace(path)
    except OSError:
        return  # a read-only or full folder costs time, not correctness
