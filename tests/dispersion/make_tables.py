"""Make fastequi/dispersion/tables.safetensors and functionals.toml from tad-dftd3's tables.

    pip install tad-dftd3==0.7.0
    python -m tests.dispersion.make_tables

tad-dftd3 is Apache-2.0. Reading its tables at run time would load torch's compiler, for seconds,
and tie a run's results to the version that happens to be installed.
"""

import tomllib
from pathlib import Path

import tad_dftd3
import torch
from safetensors.torch import save_file
from tad_dftd3.data import R4R2
from tad_dftd3.reference import Reference
from tad_mctc.data.radii import COV_D3

from fastequi.dispersion import tables

#: Decimals that C6 coefficients are given with.
SCALE = 10_000
#: Fermium. For Md (one reference less here than there) the energies of simple-dftd3 differ by 1 %.
LAST = 100


def references() -> dict[str, torch.Tensor]:
    """Reference systems in the order of elements, C6 as whole numbers of the lower triangle."""
    reference = Reference(dtype=torch.float64)
    assert reference.cn is not None
    assert reference.c6 is not None
    known = torch.nonzero(reference.cn[: LAST + 1] >= 0)
    z, k = known.unbind(1)
    c6 = reference.c6[z[:, None], z, k[:, None], k]
    lower = torch.tril_indices(len(z), len(z))
    whole = (c6[lower[0], lower[1]] * SCALE).round()
    assert torch.equal(whole / SCALE, c6[lower[0], lower[1]])
    assert torch.equal(c6, c6.T)
    n = int(z.max()) + 1
    return {
        "element": z.to(torch.int32),
        "coordination": reference.cn[z, k].contiguous(),
        "c6_times_10000": whole.to(torch.int32),
        "covalent_radius_A": covalent_radii_A()[:n].contiguous(),
        "root_r4_over_r2": R4R2(dtype=torch.float64)[:n].contiguous(),
    }


def covalent_radii_A() -> torch.Tensor:
    """Pyykkö and Atsumi's, metals 10 % shorter, as published: with few digits."""
    in_A = COV_D3(dtype=torch.float64) * 0.75 * 0.52917721067
    published = (in_A * 100).round() / 100
    assert torch.allclose(in_A, published, rtol=0, atol=1e-8)
    return published


def functionals() -> str:
    """Rows of functionals that have BJ damping."""
    given = Path(str(tad_dftd3.__file__)).parent / "param" / "parameters.toml"
    names = tomllib.loads(given.read_text())["parameter"]
    lines = ["# Damping of D3(BJ): the sources are papers by their DOI, collected by simple-dftd3."]
    for name, methods in sorted(names.items()):
        if (p := methods.get("d3", {}).get("bj")) is None:
            continue
        numbers = ", ".join(f"{k} = {float(p.get(k, 1.0))}" for k in ("s6", "s8", "a1", "a2"))
        doi = f', doi = "{p["doi"]}"' if "doi" in p else ""
        lines.append(f"{name} = {{ {numbers}{doi} }}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    save_file(references(), tables.TABLES)
    tables.FUNCTIONALS.write_text(functionals())
