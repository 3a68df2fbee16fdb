"""FIRE: downhill by inertia, which is lost whenever it would lead uphill.

Bitzek, Koskinen, Gähler, Moseler & Gumbsch, Phys. Rev. Lett. 97, 170201 (2006), in the form of
Guénolé et al., Comput. Mater. Sci. 175, 109584 (2020): semi-implicit Euler, mixing after the kick,
and half a step back where the way turns uphill. All rows have mass 1, so that its time has no unit.
Slower than L-BFGS near a minimum, and hard to lead astray far from one.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fastequi.md.minimizers.minimizer import Minimizer, Rows

#: Those of ASE's FIRE2: first and largest time step, its growth and decay, the mixing of force into
#: velocity and its decay, and the steps downhill before both change.
FIRST_DT, LARGEST_DT, SMALLEST_DT = 0.1, 1.0, 2e-3
GROWTH, DECAY = 1.1, 0.5
FIRST_MIXING, MIXING_DECAY = 0.25, 0.99
PATIENCE = 20


@dataclass(frozen=True)
class Fire(Minimizer):
    """Its memory: velocity [rows, 3]; dt, mixing, downhill (steps since the last way uphill)
    [systems]."""

    name = "fire"

    def memory(self, rows: Rows) -> dict[str, Tensor]:
        """At rest."""
        ones = rows.zeros(rows.n_systems) + 1.0
        return {
            "velocity": rows.zeros(len(rows.owner), 3),
            "dt": FIRST_DT * ones,
            "mixing": FIRST_MIXING * ones,
            "downhill": 0.0 * ones,
        }

    def displacement_(self, memory: dict[str, Tensor], forces: Tensor, rows: Rows) -> Tensor:
        """Half a step back if this was uphill; a kick, the mixing, and a step."""
        velocity, dt, mixing = memory["velocity"], memory["dt"], memory["mixing"]
        power = rows.dot(forces, velocity)
        is_downhill, is_uphill = power > 0.0, power < 0.0  # neither, at rest
        downhill = torch.where(is_downhill, memory["downhill"] + 1.0, 0.0)
        is_patient = downhill > PATIENCE
        back = -0.5 * rows.of_rows(torch.where(is_uphill, dt, 0.0)) * velocity
        longer = torch.where(is_patient, (dt * GROWTH).clamp(max=LARGEST_DT), dt)
        dt = torch.where(is_uphill, (dt * DECAY).clamp(min=SMALLEST_DT), longer)
        mixing = torch.where(is_patient, mixing * MIXING_DECAY, mixing)
        mixing = torch.where(is_uphill, FIRST_MIXING, mixing)
        velocity = torch.where(rows.of_rows(is_downhill), velocity, 0.0)
        velocity = velocity + rows.of_rows(dt) * forces
        ratio = (rows.dot(velocity, velocity) / rows.dot(forces, forces)).sqrt()
        ratio = torch.where(ratio.isfinite(), ratio, 0.0)
        share = rows.of_rows(mixing)
        velocity = (1.0 - share) * velocity + share * rows.of_rows(ratio) * forces
        for name, value in (
            ("velocity", velocity), ("dt", dt), ("mixing", mixing), ("downhill", downhill)
        ):  # fmt: skip
            memory[name].copy_(value)
        return back + rows.of_rows(dt) * velocity

    def shortened_(self, memory: dict[str, Tensor], factor: Tensor, rows: Rows) -> None:
        """Velocities stay as they are: they are not what was too long, the step was."""
