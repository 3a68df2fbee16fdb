"""TorchSim: silicon crystals of three sizes in one batch of constant energy, by fastequi's kernels.

pip install torch-sim-atomistic && python torchsim_batch.py
"""

import torch
import torch_sim
from ase.build import bulk
from torch_sim.units import MetalUnits

from fastequi.integrations.torchsim import TorchSimModel

model = TorchSimModel("silicon", dtype="float64", device="cpu")
crystal = bulk("Si", cubic=True)
crystals = [crystal, crystal.repeat((2, 1, 1)), crystal.repeat((2, 2, 1))]
final = torch_sim.integrate(
    system=crystals,
    model=model,
    integrator=torch_sim.Integrator.nve,
    n_steps=50,
    temperature=300.0,
    timestep=0.001,  # ps
)
temperatures = torch_sim.calc_kT(
    masses=final.masses, momenta=final.momenta, system_idx=final.system_idx
) / float(MetalUnits.temperature)
for size, energy, temperature in zip(crystals, final.energy, temperatures, strict=True):
    print(f"{len(size):3d} atoms: {energy / len(size):.4f} eV per atom, {temperature:.0f} K")
assert bool(torch.isfinite(final.energy).all())
