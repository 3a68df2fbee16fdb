"""Only one process writes to a folder."""

from pathlib import Path

import pytest

from fastequi.errors import InputError
from fastequi.storage.lock import only_writer


def test_one_writer_at_a_time(tmp_path):
    with only_writer(tmp_path / "run"):
        with pytest.raises(InputError, match="another run is writing here"):
            with only_writer(tmp_path / "run"):
                pass
    with only_writer(tmp_path / "run"):
        pass


def test_folder_that_cannot_be_made():
    with pytest.raises(InputError, match="cannot be written"):
        with only_writer(Path("/proc/run")):
            pass
