"""`fastequi evaluate`: the errors of a model on labelled structures."""

import sys
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

from rich.console import Console

import fastequi
from fastequi._version import __version__
from fastequi.cli.counter import Counter
from fastequi.cli.error_table import Rows, error_table
from fastequi.cli.threads import respect_quota
from fastequi.data import Dataset, Frame, read_frames
from fastequi.engine.committee import Committee, mean_of
from fastequi.engine.loaded import LoadedModel
from fastequi.errors import InputError
from fastequi.md.analysis.document import write_document
from fastequi.plotting import why_no_plots
from fastequi.training.evaluate import Evaluation, check_evaluable
from fastequi.training.evaluate import evaluate as run_evaluation
from fastequi.training.evaluation_files import write_csv, write_json
from fastequi.training.page import evaluation_data
from fastequi.training.plots import plot_parity


def evaluate(
    model: str,
    /,
    *data: Path,
    member: tuple[str, ...] = (),
    json: Path | None = None,
    csv: Path | None = None,
    plots: Path | None = None,
    report: Path | None = None,
    units_energy: str | None = None,
    units_length: str | None = None,
    keys_energy: str | None = None,
    keys_forces: str | None = None,
    keys_stress: str | None = None,
    modality: str | None = None,
    device: str = "auto",
    dtype: Literal["float32", "float64"] = "float32",
    kernels: str = "auto",
    batch_size: int | None = None,
) -> int:
    """Compare the energies, forces and stress of a model with those in data files.

    Parameters
    ----------
    model
        a known name (sevennet-0) or the path of a model
    data
        files of labelled structures: extxyz, npz, databases, whatever ASE reads
    member
        another model, whose mean with the first is evaluated; may be given several times
    json
        a file for all errors: overall, per species, per configuration type
    csv
        a file with a row per structure
    plots
        a folder for parity plots
    report
        a page with all of it, and the structures with the largest errors; any browser opens it
    units_energy
        of the files: eV, meV, kcal/mol, kJ/mol, hartree, rydberg; eV if they do not say otherwise
    units_length
        of the files: angstrom, bohr, nm
    keys_energy
        name of the energies in the files, if it is not energy
    keys_forces
        name of the forces in the files, if it is not forces
    keys_stress
        name of the stress in the files, if it is not stress
    modality
        level of theory of a multi-fidelity model, for example PBE
    device
        auto, cpu, cuda or cuda:N
    dtype
        arithmetic of the model: float32 or float64
    kernels
        which implementation of the convolution; auto takes the fastest that runs here
    batch_size
        structures computed together; as many as fill about 100,000 edges if not given
    """
    respect_quota()
    _check_options(data, (json, csv, report), plots, batch_size)
    units = _given(energy=units_energy, length=units_length)
    keys = _given(energy=keys_energy, forces=keys_forces, stress=keys_stress)
    frames = _read(data, units, keys)
    options = _given(modality=modality)
    options |= {"device": device, "dtype": dtype, "kernels": kernels}
    potential = mean_of([fastequi.load_model(name, **options) for name in (model, *member)])
    check_evaluable(frames, potential)
    _print_plan(potential, frames, data)
    evaluation = _evaluated(potential, frames, batch_size)
    for path in _write(evaluation, _facts(potential, data), json, csv, plots):
        print(f"wrote {path}")
    if report:
        title = f"{potential.name} beside {', '.join(path.name for path in data)}"
        write_document(evaluation_data(title, "errors of a model", evaluation), report)
        print(f"open in a browser: {report}")
    return 0


def _evaluated(
    potential: LoadedModel | Committee, frames: list[Frame], batch_size: int | None
) -> Evaluation:
    """The errors, printed; with counters while that lasts."""
    started = perf_counter()
    with Counter("neighbour lists") as progress:
        dataset = Dataset(frames, potential.cutoff, progress)
    with Counter("structures") as progress:
        evaluation = run_evaluation(potential, dataset, progress, batch_size)
    _print_result(evaluation, perf_counter() - started)
    return evaluation


def _check_options(
    data: tuple[Path, ...], written: tuple[Path | None, ...], plots: Path | None,
    batch_size: int | None,
) -> None:  # fmt: skip
    """What can be known to be wrong before anything takes time."""
    if not data:
        raise InputError("no data: name at least one file, as in fastequi evaluate MODEL DATA")
    if batch_size is not None and batch_size < 1:
        raise InputError(f"--batch-size: got {batch_size}; allowed: 1 and more")
    for path in written:
        if path and not path.absolute().parent.is_dir():
            raise InputError(f"{path}: there is no folder {path.absolute().parent}")
        if path and path.is_dir():
            raise InputError(f"{path} is a folder; name a file in it")
    if plots and plots.exists() and not plots.is_dir():
        raise InputError(f"--plots: {plots} exists and is not a folder")
    if plots and why_no_plots():
        print(f"warning: {why_no_plots()}", file=sys.stderr)


def _given(**options: str | None) -> dict[str, str]:
    return {name: value for name, value in options.items() if value is not None}


def _read(data: tuple[Path, ...], units: dict[str, str], keys: dict[str, str]) -> list[Frame]:
    try:
        return read_frames(data, units or None, keys)
    except InputError as error:
        if "units" not in str(error) and "keys" not in str(error):
            raise
        raise InputError(
            f"{error}\n(on the command line: --units-energy and --units-length, --keys-energy, "
            "--keys-forces, --keys-stress)"
        ) from error


def _print_plan(
    potential: LoadedModel | Committee, frames: list[Frame], data: tuple[Path, ...]
) -> None:
    atoms = sum(frame.n_atoms for frame in frames)
    print(f"{potential.name}, {potential.dtype_name}, cutoff {potential.cutoff:g} Å")
    print(f"{potential.kernels} kernels on {potential.device} ({potential.kernels_reason})")
    files = ", ".join(path.name for path in data)
    print(f"{len(frames)} structures, {atoms} atoms from {files}", flush=True)


def _print_result(evaluation: Evaluation, seconds: float) -> None:
    Console().print(error_table(_sections(evaluation.results)))
    shifts = evaluation.results.get("energy_shifts_eV")
    if shifts:
        beside = evaluation.beside_shifts()
        of = ", ".join(f"{symbol} {shift:+.4g}" for symbol, shift in shifts.items())
        some = "" if beside and beside.is_unique else " (these compositions allow others, too)"
        print(f"the data have another zero of energy; offset-free errors are beside {of} eV{some}")
    print(f"{seconds:.3g} s, {seconds / evaluation.n_atoms.sum() * 1e3:.3g} ms/atom")


def _sections(results: dict[str, Any]) -> list[Rows]:
    """All; then elements and configuration types, where there are several."""
    sections: list[Rows] = [{"all": results}]
    if len(results["per_species"]) > 1:
        sections.append(results["per_species"])
    if len(results["per_config_type"]) > 1:
        types = results["per_config_type"]
        sections.append({name or "no config_type": errors for name, errors in types.items()})
    return sections


def _facts(potential: LoadedModel | Committee, data: tuple[Path, ...]) -> dict[str, Any]:
    return {
        "fastequi": __version__,
        "model": potential.name,
        "model_sha256": potential.sha256,
        "dtype": potential.dtype_name,
        "kernels": potential.kernels,
        "device": str(potential.device),
        "files": [str(path) for path in data],
    }


def _write(
    evaluation: Evaluation, facts: dict[str, Any],
    json: Path | None, csv: Path | None, plots: Path | None,
) -> list[Path]:  # fmt: skip
    """Write what was asked for; returns the files."""
    written = [path for path in (json, csv) if path]
    if json:
        write_json(json, evaluation, facts)
    if csv:
        write_csv(csv, evaluation)
    if plots and not why_no_plots():
        try:
            plots.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"--plots: {plots} cannot be made: {error.strerror}") from error
        written += plot_parity(evaluation, plots)
    return written
