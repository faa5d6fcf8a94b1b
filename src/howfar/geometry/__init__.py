"""Two clouds and a cost, or a cost matrix, behind one interface."""

from howfar.geometry.between import between as between
from howfar.geometry.dense import DenseCost as DenseCost
from howfar.geometry.grid import Grid as Grid
from howfar.geometry.point_cloud import PointCloud as PointCloud
from howfar.geometry.protocol import Contained as Contained
from howfar.geometry.protocol import Geometry as Geometry
from howfar.geometry.protocol import Side as Side
from howfar.geometry.protocol import Swept as Swept
