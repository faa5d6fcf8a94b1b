"""The k smallest of c(x_i, y_j) - h_j."""

from howfar.ops.nearest_neighbors.op import nearest as nearest
