"""How far apart are two distributions?"""

from howfar import costs as costs
from howfar import kernels as kernels
from howfar import ops as ops
from howfar.measure import Measure as Measure
