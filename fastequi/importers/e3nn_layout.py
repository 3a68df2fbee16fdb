"""From e3nn's flat weights to one matrix per irrep, and from its order of paths to ours.

SevenNet, NequIP and nequix all store the weights of a linear map as one flat array: for every
input irrep, for every equal output irrep, a matrix [in, out]. Radial networks have one block of
columns per path, in the order in which that package lists its paths.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from fastequi.errors import InputError
from fastequi.irreps import SCALAR, Irrep
from fastequi.kernels.instructions import Instructions
from fastequi.model.activations import ACTIVATIONS
from fastequi.model.spec import E3NN_SILU_SCALE, E3NN_TANH_SCALE, LayerShapes

#: e3nn's own order and multiplicities, where an irrep may appear more than once.
Blocks = Sequence[tuple[int, Irrep]]


def parse_blocks(text: str) -> list[tuple[int, Irrep]]:
    """'128x0e+64x1e' in the written order."""
    parts = (part.strip().rpartition("x") for part in text.split("+") if part.strip())
    return [(int(mul or 1), Irrep.parse(ir)) for mul, _, ir in parts]


def e3nn_sorted(blocks: Blocks) -> list[tuple[int, Irrep]]:
    """e3nn's Irreps.sort: by degree, odd before even; stable."""
    return sorted(blocks, key=lambda block: (block[1].l, block[1].p))


def joined(blocks: Blocks) -> list[tuple[int, Irrep]]:
    """e3nn's Irreps.simplify: neighbouring equal irreps become one."""
    result: list[tuple[int, Irrep]] = []
    for mul, ir in blocks:
        if result and result[-1][1] == ir:
            result[-1] = (result[-1][0] + mul, ir)
        elif mul:
            result.append((mul, ir))
    return result


def linear_by_irrep(weight: Tensor, blocks_in: Blocks, blocks_out: Blocks) -> dict[str, Tensor]:
    """Split e3nn.o3.Linear's flat weight; equal irreps are joined: {'1o': [in, out]}."""
    matrices: dict[tuple[int, int], Tensor] = {}
    offset = 0
    for i, (mul_in, ir_in) in enumerate(blocks_in):
        for k, (mul_out, ir_out) in enumerate(blocks_out):
            if ir_in == ir_out:
                matrices[i, k] = weight[offset : offset + mul_in * mul_out].view(mul_in, mul_out)
                offset += mul_in * mul_out
    check_used_up(weight, offset)
    rows: dict[str, list[Tensor]] = {}
    for i, (_, ir) in enumerate(blocks_in):
        columns = [matrices[i, k] for k in range(len(blocks_out)) if (i, k) in matrices]
        if columns:
            rows.setdefault(str(ir), []).append(torch.cat(columns, dim=1))
    return {name: torch.cat(parts, dim=0) for name, parts in rows.items()}


def species_linear_by_irrep(
    weight: Tensor, blocks_in: Blocks, n_attributes: int, blocks_out: Blocks
) -> dict[str, Tensor]:
    """Split FullyConnectedTensorProduct(x, scalars) [u, v, w]: {'1o': [attributes, in, out]}."""
    result, offset = {}, 0
    for mul_in, ir_in in blocks_in:
        for mul_out, ir_out in blocks_out:
            if ir_in == ir_out:
                size = mul_in * n_attributes * mul_out
                block = weight[offset : offset + size].view(mul_in, n_attributes, mul_out)
                result[str(ir_in)] = block.transpose(0, 1).contiguous()
                offset += size
    check_used_up(weight, offset)
    return result


def check_used_up(weight: Tensor, used: int) -> None:
    """Raise InputError when a flat weight is longer or shorter than its irreps say."""
    if weight.numel() != used:
        raise InputError(f"a weight of {weight.numel()} numbers where the irreps need {used}")


#: One path of another package: input irrep, degree of the harmonic, output irrep, channels.
Coupling = tuple[Irrep, int, Irrep, int]


def reorder_columns(
    weight: Tensor, couplings: Sequence[Coupling], instructions: Instructions
) -> Tensor:
    """Columns [h, weights] from the order of `couplings` to that of `instructions`.

    Couplings that the instructions lack (they lead nowhere) are dropped.
    """
    columns, offset = {}, 0
    for ir_in, l2, ir_out, channels in couplings:
        columns[ir_in, l2, ir_out] = weight[:, offset : offset + channels]
        offset += channels
    if offset != weight.shape[1]:
        raise InputError(f"a radial network with {weight.shape[1]} outputs, expected {offset}")
    keys = [
        (
            instructions.irreps_in.blocks[p.input][1],
            p.l2,
            instructions.irreps_out.blocks[p.output][1],
        )
        for p in instructions.paths
    ]
    return torch.cat([columns[key] for key in keys], dim=1)


def reorder_rows(
    matrices: dict[str, Tensor], couplings: Sequence[Coupling], instructions: Instructions
) -> dict[str, Tensor]:
    """Rows [channels of all paths, out] of the second linear, from the order of `couplings`."""
    rows: dict[str, dict[tuple[Irrep, int], Tensor]] = {}
    filled: dict[str, int] = {}
    for ir_in, l2, ir_out, channels in couplings:
        name = str(ir_out)
        if name in matrices:
            start = filled.get(name, 0)
            rows.setdefault(name, {})[ir_in, l2] = matrices[name][start : start + channels]
            filled[name] = start + channels
    ordered: dict[str, list[Tensor]] = {}
    for path in instructions.paths:
        name = str(instructions.irreps_out.blocks[path.output][1])
        key = instructions.irreps_in.blocks[path.input][1], path.l2
        ordered.setdefault(name, []).append(rows[name][key])
    return {name: torch.cat(parts, dim=0) for name, parts in ordered.items()}


def reorder_gates(scalars: Tensor, gated: Blocks, shape: LayerShapes) -> Tensor:
    """Columns [..., scalars and gates] of the 0e block: gates from the order of `gated` to ours."""
    n_scalars = shape.irreps_out.channels(SCALAR)
    gates, offset = {}, n_scalars
    for mul, ir in gated:
        gates[ir] = scalars[..., offset : offset + mul]
        offset += mul
    ours = [gates[ir] for _, ir in shape.irreps_out if ir.l > 0]
    return torch.cat([scalars[..., :n_scalars], *ours], dim=-1)


def activation_scale(name: str) -> float:
    """e3nn's factor that gives an activation unit second moment; 1 for 'none'."""
    known = {"silu": E3NN_SILU_SCALE, "tanh": E3NN_TANH_SCALE, "none": 1.0}
    if name in known:
        return known[name]
    if name not in ACTIVATIONS:
        raise InputError(f"activation {name!r} is not supported; use {', '.join(ACTIVATIONS)}")
    from e3nn.math import normalize2mom

    return float(vars(normalize2mom(ACTIVATIONS[name], dtype=torch.float64))["cst"])
