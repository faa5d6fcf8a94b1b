"""-eps log sum_j exp((h_j - c(x_i, y_j)) / eps)."""

from howfar.ops.soft_minimum.op import CostLike as CostLike
from howfar.ops.soft_minimum.op import check_eps as check_eps
from howfar.ops.soft_minimum.op import softmin as softmin
from howfar.ops.soft_minimum.op import softmin_apply as softmin_apply
from howfar.ops.soft_minimum.op import softmin_cost as softmin_cost
from howfar.ops.soft_minimum.op import softmin_of as softmin_of
