"""Steps in chunks: a snapshot, n steps without a word to the host, and one look at what they left.

Between two looks nothing is asked of the device: not whether the list is still good, not whether an
atom has flown away. What goes wrong raises a bit of a flag word instead (`watch.py`), and once a
chunk the host reads it. Nothing: the steps are done. Else it goes back to the snapshot, and

    skin used up     builds the list there, and does the chunk again
    overflow         has the force call made again, which takes a quarter more room
    anything else    does half of it first; a chunk of one step is the step with a look at
                     everything, which says what is wrong, or mends it

so that no result depends on the length of chunks: a list contributes the same wherever it was
built (`neighbors/list.py`).

On a CPU a question costs nothing, and steps that are done again cost force calls: there a chunk is
one step with its looks, unless asked otherwise. On a GPU it is a part of what a list lasts, and no
longer than a person waits for a stop; a list that would not last is built before the chunk begins.
A bias is asked at every step: with one, a chunk is one step everywhere.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import cast

import torch
from torch import Tensor

from fastequi.errors import PhysicsError
from fastequi.kernels.triton.step.flags import OVERFLOW, SKIN_USED
from fastequi.md.capture import CapturedStep
from fastequi.md.forces import Forces
from fastequi.md.integrators import Integrator
from fastequi.md.state import State
from fastequi.md.watch import Watch

#: A stop that is asked for is answered after about so long.
_ANSWER_S = 0.1
#: Chunks that share a list.
_CHUNKS_PER_LIST = 5
#: How much faster than in the chunk before a skin may be used up, and no step is done again.
_HASTE = 1.25
#: Steps of the first chunk, of which nothing is known.
_FIRST_STEPS = 4


@dataclass
class _Blind:
    """A state whose step is a number on the device, with its watch, and a step that was captured.

    left: the tensors that the last chunk left, and how often they had been written into.
    """

    state: State
    step: Tensor
    watch: Watch
    captured: CapturedStep | None = None
    left: list[tuple[Tensor, int]] | None = None

    @classmethod
    def of(cls, state: State, integrator: Integrator) -> "_Blind":
        step = torch.full((), state.step, dtype=torch.int64, device=state.device)
        # An integrator that reads the number rather than hand it on raises on a GPU, and in tests.
        return cls(replace(state, step=cast(int, step)), step, Watch(state, integrator))


class Chunks:
    """Advances a state.

    steps       of a chunk, at most
    n_chunks    so far; n_repeated: steps that had to be done again
    """

    def __init__(self, integrator: Integrator, forces: Forces, steps: int | None = None) -> None:
        """steps: of every chunk; None for as many as are good here."""
        self._integrator, self._forces, self._given = integrator, forces, steps
        self.steps = steps or _FIRST_STEPS
        self.n_chunks = self.n_repeated = 0
        self._good: State | None = None
        self._blind: _Blind | None = None
        self._used_A = 0.0
        self._lasting, self._lasted = 0, math.inf

    def start_(self, state: State) -> None:
        """Energies, forces and stress of a state as it is; raises PhysicsError as `advance_`."""
        good = self._snapshot(state)
        try:
            self._forces.look_(state, good, state.step)
        except PhysicsError:
            state.copy_(good)
            raise

    def advance_(self, state: State, steps: int) -> int:
        """At most so many steps, and not more than a chunk; how many.

        Raises PhysicsError when one fails, with the state back at the last good one.
        """
        steps = min(steps, self._most(state))
        if steps == 1:
            self._step_with_looks_(state)
            return 1
        started = time.perf_counter()
        self.n_chunks += 1
        self._prepare(state)
        before_A, done, length, is_fresh = self._used_A, 0, steps, False
        while done < steps:
            length = min(length, steps - done)
            flags = self._step_with_looks_(state) if length == 1 else self._try_(state, length)
            if not flags:
                done, is_fresh = done + length, False
            elif flags & SKIN_USED and not is_fresh:
                self._build_(state)
                is_fresh = True
            elif flags & OVERFLOW:
                self._forces.renew_(state)
            else:
                length //= 2
        self._adapt(time.perf_counter() - started, steps)
        if self._used_A + _HASTE * max(self._used_A - before_A, 0.0) > self._forces.neighbors.skin:
            self._build_(state)
        self._blind_of(state).left = _left(state)
        return steps

    def one_more_step(self) -> Callable[[], None]:
        """A step without a look, as the last chunk made them: what a graph would capture."""
        blind = self._blind
        assert blind is not None
        return lambda: self._blind_step_(blind)

    # -- a chunk -------------------------------------------------------------------------------

    def _most(self, state: State) -> int:
        """Steps of the next chunk."""
        if self._forces.bias is not None:
            return 1
        is_free = state.device.type == "cpu"  # to ask
        if self._given is None and (is_free or self._forces.flags is None):
            return 1
        return self.steps

    def _step_with_looks_(self, state: State) -> int:
        with self._forces.clock.timed("integrate"):
            good = self._snapshot(state)
            try:
                self._integrator.step_(state, lambda s: self._forces.look_(s, good, good.step + 1))
            except PhysicsError:
                state.copy_(good)
                raise
            state.step += 1
        return 0

    def _try_(self, state: State, steps: int) -> int:
        """So many steps without a look, and the flags of all; with any, the state is as before."""
        with self._forces.clock.timed("integrate"):
            good, blind = self._snapshot(state), self._blind_of(state)
            self._start_blind_(blind, state)
            if state.device.type == "cuda":
                with self._forces.clock.timed("model"):  # a graph is one piece
                    self._captured(blind, state, good).replay(steps)
                    flags, self._used_A = self._look(blind)
            else:
                for _ in range(steps):
                    self._blind_step_(blind)
                flags, self._used_A = self._look(blind)
            self._check_places(blind, state)
            if flags:
                state.copy_(good)
                self.n_repeated += steps
            else:
                state.step += steps
                self._lasting += steps
        return flags

    def _blind_step_(self, blind: _Blind) -> None:
        self._integrator.step_(blind.state, lambda s: self._forces.blind_(s, blind.watch))
        blind.step.add_(1)

    def _start_blind_(self, blind: _Blind, state: State) -> None:
        blind.step.fill_(state.step)
        blind.watch.start_(state, self._forces.neighbors.gauge)
        if (flags := self._forces.flags) is not None:
            flags.zero_()

    def _look(self, blind: _Blind) -> tuple[int, float]:
        """The flag word, and how much of the skin is used, in Å: what the host waits for."""
        state, gauge, flags = blind.state, self._forces.neighbors.gauge, blind.watch.flags
        cell = None if self._integrator.strain_of_step(state) is None else state.cell
        used = gauge.used(state.positions, cell, state.batch).amax()
        if (of_call := self._forces.flags) is not None:
            flags = flags | of_call
        word, used_A = torch.cat([flags.to(torch.float64), used.view(1)]).tolist()
        return int(word), used_A

    def _captured(self, blind: _Blind, state: State, good: State) -> CapturedStep:
        """A step as a graph; again where what it works on has moved to other places."""
        places = [self._forces.flags, self._forces.neighbors.gauge]
        if blind.captured is None or not blind.captured.is_of(places):

            def step_() -> None:
                self._blind_step_(blind)

            blind.captured = CapturedStep(step_, places)
            state.copy_(good)  # from what the capture tried
            self._start_blind_(blind, state)
        return blind.captured

    # -- what surrounds it -----------------------------------------------------------------------

    def _snapshot(self, state: State) -> State:
        """This step as the last good one, in tensors of its own."""
        if self._good is None or self._good.extra.keys() != state.extra.keys():
            self._good = state.snapshot()
        else:
            self._good.copy_(state)
        return self._good

    def _blind_of(self, state: State) -> _Blind:
        if self._blind is None or not _same_places(self._blind.state, state):
            self._blind = _Blind.of(state, self._integrator)
        return self._blind

    def _prepare(self, state: State) -> None:
        """A look at the list, unless positions and cell are as the last chunk left them."""
        left = self._blind.left if self._blind else None
        if left is None or not _are(left, state) or not self._forces.is_of(state):
            self._forces.list_(state)

    def _adapt(self, seconds: float, steps: int) -> None:
        """The length of chunks to how long steps take and lists last."""
        if self._given is None:
            answered = _ANSWER_S * steps / max(seconds, 1e-9)
            shared = self._lasted / _CHUNKS_PER_LIST
            self.steps = max(2, int(min(2 * self.steps, answered, shared)))

    def _build_(self, state: State) -> None:
        self._forces.list_(state, anew=True)
        self._lasted, self._lasting, self._used_A = max(self._lasting, 1), 0, 0.0

    def _check_places(self, blind: _Blind, state: State) -> None:
        """Raise TypeError for an integrator that has made other tensors of its own."""
        for name, tensor in state.moving().items():
            if blind.state.moving()[name] is not tensor:
                raise TypeError(
                    f"{self._integrator.ensemble} has made another tensor of {name!r}: a step "
                    "writes into those of its state, with add_(), mul_(), copy_()"
                )


def _left(state: State) -> list[tuple[Tensor, int]]:
    """What a list is of, and how often it had been written into."""
    return [(tensor, tensor._version) for tensor in (state.positions, state.cell)]


def _are(left: list[tuple[Tensor, int]], state: State) -> bool:
    return all(a is b and n == m for (a, n), (b, m) in zip(left, _left(state), strict=True))


def _same_places(a: State, b: State) -> bool:
    """Whether two states are one but for their step."""
    mine, others = (
        {f.name: getattr(s, f.name) for f in fields(s) if f.name not in ("step", "extra")} | s.extra
        for s in (a, b)
    )
    return mine.keys() == others.keys() and all(mine[name] is others[name] for name in mine)
