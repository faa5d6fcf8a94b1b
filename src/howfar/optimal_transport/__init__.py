"""Optimal transport: exact, entropic, sliced, Gaussian."""

from howfar.optimal_transport.gaussians import frechet_distance as frechet_distance
from howfar.optimal_transport.gaussians import gaussian_wasserstein as gaussian_wasserstein
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
    "LinearProblem",
    "OTResult",
    "Sinkhorn",
    "Status",
    "frechet_distance",
    "gaussian_wasserstein",
    "max_sliced_wasserstein",
    "sinkhorn_distance",
    "sinkhorn_divergence",
    "sliced_wasserstein",
    "sliced_wasserstein_estimate",
    "solve_geometry",
    "transport",
    "transport_matrix",
    "wasserstein",
    "widened",
]
