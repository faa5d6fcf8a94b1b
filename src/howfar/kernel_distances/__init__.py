"""Distances made of means of a kernel over pairs of points: maximum mean discrepancy, energy distance, witness."""

from howfar.kernel_distances.bandwidths import MultiBandwidth as MultiBandwidth
from howfar.kernel_distances.bandwidths import median_distance as median_distance
from howfar.kernel_distances.discrepancy import mmd as mmd
from howfar.kernel_distances.discrepancy import mmd2 as mmd2
from howfar.kernel_distances.discrepancy import multi_kernel_mmd as multi_kernel_mmd
from howfar.kernel_distances.discrepancy import witness as witness
from howfar.kernel_distances.energy import energy_distance as energy_distance
