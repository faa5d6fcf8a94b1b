"""sum_j k(x_i, y_j) w_j."""

from howfar.ops.kernel_summation.op import kernel_sum as kernel_sum
