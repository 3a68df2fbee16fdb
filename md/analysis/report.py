"""report.html at the end of a run: what `analyze` would say, of so many frames as take seconds."""

from dataclasses import replace
from pathlib import Path

from fastequi.md.analysis.page import write_page
from fastequi.md.analysis.run import analyze, systems_of
from fastequi.md.analysis.systems import System, system_of, write_systems_page
from fastequi.md.trajectory.directory import REPORT

#: Positions of all frames that are analyzed, in one system and in all together.
MOST_POSITIONS = 100_000
#: Systems that get a page, and those whose log is read.
MOST_PAGES, MOST_LOGS = 16, 200


def write_report(directory: Path) -> Path:
    """Write the page of a run, and of each of its systems; returns the path of the first to open.

    Raises InputError where there is nothing to tell yet, or files are damaged.
    """
    folders = systems_of(directory)
    if folders == [directory]:
        path = directory / REPORT
        write_page(analyze(directory, most_positions=MOST_POSITIONS), path)
        return path
    share = MOST_POSITIONS // min(len(folders), MOST_PAGES)
    systems = [_system(folder, share) for folder in folders[:MOST_PAGES]]
    systems += [_system(folder, 0) for folder in folders[MOST_PAGES:MOST_LOGS]]
    remark = ""
    if len(folders) > MOST_PAGES:
        remark = (
            f"The first {MOST_PAGES} of {len(folders)} systems have a page of their own, and "
            f"{len(systems)} are listed; fastequi analyze {directory.name} writes one for each."
        )
    return write_systems_page(directory, systems, remark)


def _system(folder: Path, most_positions: int) -> System:
    """What is told of one system beside others; its frames are let go."""
    results = analyze(folder, most_positions=most_positions)
    if most_positions:
        write_page(results, folder / REPORT)
    return system_of(replace(results, frames=()), has_page=most_positions > 0)
