"""Sums over the pairs of D3 dispersion, in plain torch: what they are, on any device.

Receivers stand in clusters, one in each lane of a vector; a cluster has one list of senders, which
serves all its lanes. A pair beyond its cutoff adds exactly zero, and the list of a cluster is in an
order that depends on the senders alone; so neither the list's age nor who shares a cluster shows in
a sum, to the last bit. `cpu/pair_sums.py` is the same, compiled.

r points from receiver to sender, s = r². Lengths in Å, energies in eV. With the sums over all
senders but the atom itself:

    count   CN_i = sum 1 / (1 + e),  e = exp(-16 (R / r - 1))                    r < near cutoff
    chain   F_i = sum k r with k = (q_i + q_j) dCN/ds 2
    pairs   G_i = sum W_j f(s),  f = 1 / (s³ + R⁶) + q8 / (s⁴ + R⁸)              r < far cutoff
            energy -A_i·G_i / 2, dE/dCN_i = -B_i·G_i, F_i = sum k r with k = -2 A_i·W_j df/ds

Senders are sorted by element, and R, q8, A and B of a receiver are constant for each. Of every k,
half of sum k r r are the receiver's share of the virial dE/dstrain.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

#: Steepness of the counting function (Grimme et al. 2010, eq. 15).
STEEPNESS = 16.0
#: Å²: a pair that is closer is an atom and itself.
SAME = 1e-12
#: Pairs at a time.
_AT_A_TIME = 1 << 21


@dataclass(frozen=True)
class PairList:
    """The senders of each cluster.

    start   [clusters * elements + 1]  int64: where those of an element begin
    sender  [entries]                  int32: rows of the senders
    cutoff  Å
    """

    start: Tensor
    sender: Tensor
    cutoff: float


def lanes() -> int:
    """Receivers of a cluster; here it may be any number."""
    return 8


def place_(senders: Tensor, rows: Tensor, atom: Tensor, moved: Tensor) -> None:
    """Senders [rows, columns], the images of `atom` [rows]: what atoms have in `rows`
    [atoms, columns], which begins with positions, and these moved by [rows, 3] in Å."""
    torch.index_select(rows, 0, atom, out=senders)
    senders[:, :3] += moved


def put_(senders: Tensor, values: Tensor, atom: Tensor) -> None:
    """Into their last column what atoms have in values [atoms]."""
    senders[:, -1] = values.index_select(0, atom)


def count(
    pairs: PairList, receivers: Tensor, senders: Tensor, radius: Tensor,
    slopes: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Coordination numbers [clusters, 1, lanes].

    receivers [clusters, 3, lanes], senders [rows, 4] with what `chain` takes in the last column
    (unused), radius [clusters, elements, lanes]: R. Where given, 2 dCN/ds of each pair is written
    into slopes [entries, lanes].
    """
    out, first = receivers.new_zeros((len(receivers), 1, receivers.shape[2])), 0
    for cluster, element, row in _pieces(pairs, radius):
        _, counted, slope = _counting(pairs, receivers, senders, radius, cluster, element, row)
        out.index_add_(0, cluster, counted.unsqueeze(1))
        if slopes is not None:
            slopes[first : first + len(row)] = slope
        first += len(row)
    return out


def chain(
    pairs: PairList, receivers: Tensor, senders: Tensor, radius: Tensor, q: Tensor,
    slopes: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Forces and virials [clusters, 9, lanes] through the coordination numbers.

    As `count`, which may have left the slopes; q [clusters, lanes] = dE/dCN of the receivers, and
    of the senders in column 3.
    """
    out, first = receivers.new_zeros((len(receivers), 9, receivers.shape[2])), 0
    for cluster, element, row in _pieces(pairs, radius):
        if slopes is None:
            r, _, slope = _counting(pairs, receivers, senders, radius, cluster, element, row)
        else:
            r, _, _ = _distances(pairs, receivers, senders, cluster, row)
            slope = slopes[first : first + len(row)]
        k = (q[cluster] + senders[row, 3, None]) * slope
        out.index_add_(0, cluster, _forces_and_virials(k, r))
        first += len(row)
    return out


def pair_energies(
    pairs: PairList, receivers: Tensor, senders: Tensor, damping: Tensor, a_and_b: Tensor
) -> Tensor:
    """-2 energy, -dE/dCN, forces, virials [clusters, 11, lanes].

    senders [rows, 3 + references]: positions and W; damping [clusters, elements, 3, lanes]: R⁶, R⁸,
    q8; a_and_b [clusters, elements, 2, references, lanes].
    """
    out = receivers.new_zeros((len(receivers), 11, receivers.shape[2]))
    for cluster, element, row in _pieces(pairs, damping):
        r, s, is_pair = _distances(pairs, receivers, senders, cluster, row)
        R6, R8, q8 = damping[cluster, element].unbind(1)
        t6, t8 = 1.0 / (s**3 + R6), 1.0 / (s**4 + R8)
        f = torch.where(is_pair, t6 + q8 * t8, 0.0)
        slope = torch.where(is_pair, 6.0 * (s * t6) ** 2 + 8.0 * q8 * s * (s * t8) ** 2, 0.0)
        aw, bw = torch.einsum("exbl,eb->xel", a_and_b[cluster, element], senders[row, 3:])
        sums = torch.cat(
            [(aw * f).unsqueeze(1), (bw * f).unsqueeze(1), _forces_and_virials(aw * slope, r)], 1
        )
        out.index_add_(0, cluster, sums)
    return out


def _pieces(pairs: PairList, table: Tensor):
    """Cluster, element and sender's row of some entries at a time; table [clusters, elements]."""
    n_clusters, n_elements = table.shape[:2]
    counts = pairs.start.diff()
    segment = torch.arange(n_clusters * n_elements, device=counts.device)
    segment = segment.repeat_interleave(counts)
    size = max(_AT_A_TIME // table.shape[-1], 1)
    for part, sender in zip(segment.split(size), pairs.sender.split(size), strict=True):
        yield part // n_elements, part % n_elements, sender.long()


def _distances(
    pairs: PairList, receivers: Tensor, senders: Tensor, cluster: Tensor, row: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """r [entries, 3, lanes], s, and whether it is a pair; s is 1 where it is not."""
    r = senders[row, :3].unsqueeze(2) - receivers[cluster]
    s = r.square().sum(dim=1)
    is_pair = (s < pairs.cutoff**2) & (s > SAME)
    return r, torch.where(is_pair, s, 1.0), is_pair


def _counting(
    pairs: PairList, receivers: Tensor, senders: Tensor, radius: Tensor, cluster: Tensor,
    element: Tensor, row: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """r, what each pair counts, and twice its slope with s."""
    r, s, is_pair = _distances(pairs, receivers, senders, cluster, row)
    R = radius[cluster, element]
    e = torch.exp(STEEPNESS - STEEPNESS * R / s.sqrt())
    counted = torch.where(is_pair, 1.0 / (1.0 + e), 0.0)
    return r, counted, -STEEPNESS * R * counted**2 * e / s**1.5


def _forces_and_virials(k: Tensor, r: Tensor) -> Tensor:
    """k r and k r r / 2 (xx yy zz yz xz xy), [entries, 9, lanes]."""
    x, y, z = r.unbind(1)
    products = [x * x, y * y, z * z, y * z, x * z, x * y]
    return torch.cat([k.unsqueeze(1) * r, 0.5 * k.unsqueeze(1) * torch.stack(products, 1)], 1)
