"""Three streaming reductions over all pairs (i, j): the engine under every distance of the house."""

from howfar.ops.explanation import Explanation as Explanation
from howfar.ops.explanation import explain as explain
from howfar.ops.kernel_summation import kernel_sum as kernel_sum
from howfar.ops.nearest_neighbors import nearest as nearest
from howfar.ops.soft_minimum import softmin as softmin
from howfar.ops.soft_minimum import softmin_apply as softmin_apply

__all__ = ["Explanation", "explain", "kernel_sum", "nearest", "softmin", "softmin_apply"]
