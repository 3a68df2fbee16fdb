"""log.csv is read back as it was written; what is no log is refused."""

import numpy as np
import pytest

from fastequi.errors import InputError
from fastequi.md.trajectory.log import LOG_COLUMNS, LogFile, read_log


def write(path, rows, more=()):
    file = LogFile(path, more_columns=more)
    for step in range(rows):
        file.append({name: step / 3.0 for name in file.columns} | {"step": step})
    file.close()


def test_to_the_last_bit(tmp_path):
    write(tmp_path / "log.csv", 7, more=["disagreement_eV_per_A"])
    columns = read_log(tmp_path / "log.csv")
    assert tuple(columns) == (*LOG_COLUMNS, "disagreement_eV_per_A")
    np.testing.assert_array_equal(columns["pressure_GPa"], np.arange(7) / 3.0)


def test_a_row_cut_short_is_left_out(tmp_path):
    path = tmp_path / "log.csv"
    write(path, 3)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.warns(UserWarning, match="the last row is cut short"):
        assert len(read_log(path)["step"]) == 2
    path.write_text(path.read_text().splitlines()[0])
    assert len(read_log(path)["step"]) == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a log of fastequi"),
        (b"a,b\n1,2\n", "not a log of fastequi"),
        (b"\xff\xfe\x00\x01", "not a text file"),
        ((",".join(LOG_COLUMNS) + "\n1,2\n").encode(), "line 2 is not a row of 9 numbers: '1,2'"),
        ((",".join(LOG_COLUMNS) + "\n" + "x," * 8 + "1\n").encode(), "line 2"),
    ],
)
def test_what_is_no_log(tmp_path, content, message):
    (tmp_path / "log.csv").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_log(tmp_path / "log.csv")
    with pytest.raises(InputError, match="cannot be read"):
        read_log(tmp_path / "none.csv")
