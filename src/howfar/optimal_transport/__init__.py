"""Optimal transport: exact, entropic, sliced, Gaussian, on grids; barycentres."""

from howfar.optimal_transport.barycenters import Barycenter as Barycenter
from howfar.optimal_transport.barycenters import barycenter as barycenter
from howfar.optimal_transport.circle import circle_wasserstein as circle_wasserstein
from howfar.optimal_transport.gaussian_maps import AffineMap as AffineMap
from howfar.optimal_transport.gaussian_maps import GaussianFit as GaussianFit
from howfar.optimal_transport.gaussian_maps import gaussian_barycenter as gaussian_barycenter
from howfar.optimal_transport.gaussian_maps import gaussian_map as gaussian_map
from howfar.optimal_transport.gaussians import frechet_distance as frechet_distance
from howfar.optimal_transport.gaussians import gaussian_wasserstein as gaussian_wasserstein
from howfar.optimal_transport.grids import sinkhorn_divergence_grid as sinkhorn_divergence_grid
from howfar.optimal_transport.grids import transport_grid as transport_grid
from howfar.optimal_transport.losses import sinkhorn_distance as sinkhorn_distance
from howfar.optimal_transport.losses import sinkhorn_divergence as sinkhorn_divergence
from howfar.optimal_transport.losses import wasserstein as wasserstein
from howfar.optimal_transport.optimal_direction import max_sliced_wasserstein as max_sliced_wasserstein
from howfar.optimal_transport.problem import LinearProblem as LinearProblem
from howfar.optimal_transport.projections import sliced_wasserstein as sliced_wasserstein
from howfar.optimal_transport.projections import sliced_wasserstein_estimate as sliced_wasserstein_estimate
from howfar.optimal_transport.result import OTResult as OTResult
from howfar.optimal_transport.sinkhorn import Sinkhorn as Sinkhorn
from howfar.optimal_transport.solve import solve_geometry as solve_geometry
from howfar.optimal_transport.solve import transport as transport
from howfar.optimal_transport.solve import transport_matrix as transport_matrix
from howfar.optimal_transport.solve import widened as widened
from howfar.optimal_transport.status import Status as Status

__all__ = [
    "AffineMap",
    "Barycenter",
    "GaussianFit",
    "LinearProblem",
    "OTResult",
    "Sinkhorn",
    "Status",
    "barycenter",
    "circle_wasserstein",
    "frechet_distance",
    "gaussian_barycenter",
    "gaussian_map",
    "gaussian_wasserstein",
    "max_sliced_wasserstein",
    "sinkhorn_distance",
    "sinkhorn_divergence",
    "sinkhorn_divergence_grid",
    "sliced_wasserstein",
    "sliced_wasserstein_estimate",
    "solve_geometry",
    "transport",
    "transport_grid",
    "transport_matrix",
    "wasserstein",
    "widened",
]
