"""Plans run the kernels that they were made of, whatever else forgets them."""

import gc
import weakref

import numpy as np

from fastequi.kernels.llvm.compiler import Kernel
from fastequi.kernels.llvm.plan import Blocks, Named, Plan, PlannedCall

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
    kernel = Kernel("add", _ADD, n_integers=4)
    alive = weakref.ref(kernel)
    call = PlannedCall(kernel, (0, 3, 0, 0), (Named("place"),))
    plan = Plan([[call, Blocks(0, Named("n"), 4, [call])]])
    del kernel, call
    gc.collect()
    assert alive() is not None  # its machine code would be gone with it
    total = np.zeros(1, dtype=np.int64)
    plan.run({"place": total.ctypes.data, "n": 10})
    assert total[0] == 3 + 10  # blocks of 4, 4 and 2 rows
