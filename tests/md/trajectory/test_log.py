"""log.csv parses back exactly and can be cut back."""

import csv

import pytest

from fastequi.errors import InputError
from fastequi.md.observers import thermodynamics
from fastequi.md.trajectory.log import LOG_COLUMNS, LogFile

HEADER = (
    "step,time_ps,potential_energy_eV,kinetic_energy_eV,total_energy_eV,"
    "temperature_K,pressure_GPa,volume_A3,conserved_eV"
)


def write(simulation, path, steps, offset=None):
    log, rows, offsets = LogFile(path, offset), [], []
    for _ in range(steps):
        simulation.run(1)
        rows.append(thermodynamics(simulation))
        log.append(rows[-1])
        offsets.append(log.sync())
    log.close()
    return rows, offsets


def test_numbers_parse_back_exactly(simulation, tmp_path):
    rows, _ = write(simulation, tmp_path / "log.csv", 3)
    text = (tmp_path / "log.csv").read_text()
    assert text.splitlines()[0] == HEADER == ",".join(LOG_COLUMNS)
    for row, read in zip(rows, csv.DictReader(text.splitlines()), strict=True):
        assert {name: float(value) for name, value in read.items()} == row


def test_cut_back_and_continued_is_the_same(simulation, tmp_path):
    path = tmp_path / "log.csv"
    rows, offsets = write(simulation, path, 4)
    whole = path.read_bytes()
    log = LogFile(path, offsets[1])
    for row in rows[2:]:
        log.append(row)
    log.close()
    assert path.read_bytes() == whole


def test_file_shorter_than_its_offset(simulation, tmp_path):
    path = tmp_path / "log.csv"
    _, offsets = write(simulation, path, 2)
    path.write_text(HEADER)
    with pytest.raises(InputError, match=f"log.csv: has {len(HEADER)} bytes.*{offsets[-1]}"):
        LogFile(path, offsets[-1])
    path.unlink()
    with pytest.raises(InputError, match=r"log\.csv: missing"):
        LogFile(path, offsets[-1])
