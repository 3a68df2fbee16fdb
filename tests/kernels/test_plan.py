"""Plans run the kernels that they were made of, whatever else forgets them."""

import gc
import weakref

import pytest
import torch
from torch import Tensor

from fastequi.kernels.llvm.arguments import Arguments, Named
from fastequi.kernels.llvm.compiler import Kernel
from fastequi.kernels.llvm.plan import Blocks, Plan, PlannedCall

# *place += end - begin
_ADD = """
define void @add(i64 %begin, i64 %end, i64 %a, i64 %b, ptr %arguments) {
  %place = load ptr, ptr %arguments
  %old = load i64, ptr %place
  %rows = sub i64 %end, %begin
  %new = add i64 %old, %rows
  store i64 %new, ptr %place
  ret void
}
"""


def test_a_plan_holds_its_kernels():
    kernel = Kernel("add", _ADD, 4, Arguments(torch.float32, {"place": "int64s"}))
    alive = weakref.ref(kernel)
    call = PlannedCall(kernel, (0, 3, 0, 0), {"place": Named("place")})
    plan = Plan([[call, Blocks(0, Named("n"), 4, [call])]])
    del kernel, call
    gc.collect()
    assert alive() is not None  # its machine code would be gone with it
    total = torch.zeros(1, dtype=torch.int64)
    plan.run({"place": total, "n": 10})
    assert total[0] == 3 + 10  # blocks of 4, 4 and 2 rows


# *out = n * *x
_SCALE = """
define void @scale(i64 %begin, i64 %end, i64 %a, i64 %b, ptr %arguments) {
  %x.at = getelementptr i64, ptr %arguments, i64 1
  %n.at = getelementptr i64, ptr %arguments, i64 2
  %out = load ptr, ptr %arguments
  %x.place = load ptr, ptr %x.at
  %n = load i64, ptr %n.at
  %x = load i64, ptr %x.place
  %new = mul i64 %x, %n
  store i64 %new, ptr %out
  ret void
}
"""


def scale(**arguments: int | float | Named) -> Plan:
    declared = Arguments(torch.float32, {"out": "int64s", "x": "int64s", "n": "integer"})
    call = PlannedCall(Kernel("scale", _SCALE, 4, declared), (0, 1, 0, 0), arguments)
    return Plan([[call]])


NAMES = {name: Named(name) for name in ("out", "x", "n")}


def values() -> dict[str, Tensor | int]:
    return {"out": torch.zeros(1, dtype=torch.int64), "x": torch.tensor([14]), "n": 3}


def test_what_is_declared_runs():
    given = values()
    scale(**NAMES).run(given)
    assert given["out"] == 42


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"n": values()["x"], "x": 3}, TypeError, r"x is a tensor of torch.int64, got 3 \(int\)"),
        ({"n": torch.tensor([14])}, TypeError, "n is an integer, got a tensor of torch.int64"),
        ({"x": torch.ones(1)}, TypeError, "x is a tensor of .*int64, got a tensor of .*float32"),
        ({"n": 3.0}, TypeError, r"n is an integer, got 3.0 \(float\)"),
    ],
)
def test_a_swapped_or_mistyped_value_is_refused(wrong, error, message):
    """It would be an address: the process would be gone."""
    given = values() | wrong
    with pytest.raises(error, match=message):
        scale(**NAMES).run(given)
    assert given["out"] == 0


def test_a_missing_value_is_refused():
    given = values()
    del given["x"]
    with pytest.raises(ValueError, match="missing: x"):
        scale(**NAMES).run(given)


def test_a_call_fills_what_its_kernel_declares():
    with pytest.raises(ValueError, match="missing: x, n"):
        scale(out=Named("out"))
    with pytest.raises(ValueError, match="unknown arguments: m"):
        scale(**NAMES, m=1)
    with pytest.raises(TypeError, match="x is of kind 'int64s', got 0"):
        scale(**NAMES | {"x": 0})
    with pytest.raises(TypeError, match=r"n is of kind 'integer', got 1\.0"):
        scale(**NAMES | {"n": 1.0})
    with pytest.raises(TypeError, match=r"same is torch\.int64 in one call, None in another"):
        scale(**NAMES | {"x": Named("same"), "n": Named("same")})
