"""How far apart are two distributions?

As a loss to train with, as a number with an error bar, as a test that says whether the gap is real.
"""

from howfar import adversarial as adversarial
from howfar import costs as costs
from howfar import kernels as kernels
from howfar import nn as nn
from howfar import ops as ops
from howfar import plot as plot
from howfar._errors import BackendUnavailable as BackendUnavailable
from howfar._errors import DataError as DataError
from howfar._errors import DerivativeUnavailable as DerivativeUnavailable
from howfar._errors import DomainError as DomainError
from howfar._errors import HowfarError as HowfarError
from howfar._errors import HowfarWarning as HowfarWarning
from howfar._errors import NotConverged as NotConverged
from howfar._errors import ShapeError as ShapeError
from howfar._errors import UnknownName as UnknownName
from howfar._version import __version__ as __version__
from howfar.comparison import Comparison as Comparison
from howfar.comparison import compare as compare
from howfar.data import Table as Table
from howfar.data import load as load
from howfar.f_divergences import GENERATORS as GENERATORS
from howfar.f_divergences import Generator as Generator
from howfar.f_divergences import alpha_divergence as alpha_divergence
from howfar.f_divergences import chi2 as chi2
from howfar.f_divergences import f_divergence as f_divergence
from howfar.f_divergences import hellinger as hellinger
from howfar.f_divergences import histogram as histogram
from howfar.f_divergences import jeffreys as jeffreys
from howfar.f_divergences import js as js
from howfar.f_divergences import kl as kl
from howfar.f_divergences import neyman_chi2 as neyman_chi2
from howfar.f_divergences import renyi as renyi
from howfar.f_divergences import reverse_kl as reverse_kl
from howfar.f_divergences import triangular as triangular
from howfar.f_divergences import tv as tv
from howfar.kernel_distances import MultiBandwidth as MultiBandwidth
from howfar.kernel_distances import energy_distance as energy_distance
from howfar.kernel_distances import mmd as mmd
from howfar.kernel_distances import mmd2 as mmd2
from howfar.kernel_distances import multi_kernel_mmd as multi_kernel_mmd
from howfar.kernel_distances import witness as witness
from howfar.measure import Measure as Measure
from howfar.optimal_transport import AffineMap as AffineMap
from howfar.optimal_transport import Barycenter as Barycenter
from howfar.optimal_transport import GaussianFit as GaussianFit
from howfar.optimal_transport import OTResult as OTResult
from howfar.optimal_transport import Status as Status
from howfar.optimal_transport import barycenter as barycenter
from howfar.optimal_transport import circle_wasserstein as circle_wasserstein
from howfar.optimal_transport import frechet_distance as frechet_distance
from howfar.optimal_transport import gaussian_barycenter as gaussian_barycenter
from howfar.optimal_transport import gaussian_map as gaussian_map
from howfar.optimal_transport import gaussian_wasserstein as gaussian_wasserstein
from howfar.optimal_transport import max_sliced_wasserstein as max_sliced_wasserstein
from howfar.optimal_transport import sinkhorn_distance as sinkhorn_distance
from howfar.optimal_transport import sinkhorn_divergence as sinkhorn_divergence
from howfar.optimal_transport import sinkhorn_divergence_grid as sinkhorn_divergence_grid
from howfar.optimal_transport import sliced_wasserstein as sliced_wasserstein
from howfar.optimal_transport import sliced_wasserstein_estimate as sliced_wasserstein_estimate
from howfar.optimal_transport import transport as transport
from howfar.optimal_transport import transport_grid as transport_grid
from howfar.optimal_transport import transport_matrix as transport_matrix
from howfar.optimal_transport import wasserstein as wasserstein
from howfar.results import Estimate as Estimate
from howfar.two_sample import TwoSampleTest as TwoSampleTest
from howfar.two_sample import two_sample_test as two_sample_test

__all__ = [
    "GENERATORS",
    "AffineMap",
    "BackendUnavailable",
    "Barycenter",
    "Comparison",
    "DataError",
    "DerivativeUnavailable",
    "DomainError",
    "Estimate",
    "GaussianFit",
    "Generator",
    "HowfarError",
    "HowfarWarning",
    "Measure",
    "MultiBandwidth",
    "NotConverged",
    "OTResult",
    "ShapeError",
    "Status",
    "Table",
    "TwoSampleTest",
    "UnknownName",
    "__version__",
    "adversarial",
    "alpha_divergence",
    "barycenter",
    "chi2",
    "circle_wasserstein",
    "compare",
    "costs",
    "energy_distance",
    "f_divergence",
    "frechet_distance",
    "gaussian_barycenter",
    "gaussian_map",
    "gaussian_wasserstein",
    "hellinger",
    "histogram",
    "jeffreys",
    "js",
    "kernels",
    "kl",
    "load",
    "max_sliced_wasserstein",
    "mmd",
    "mmd2",
    "multi_kernel_mmd",
    "neyman_chi2",
    "nn",
    "ops",
    "plot",
    "renyi",
    "reverse_kl",
    "sinkhorn_distance",
    "sinkhorn_divergence",
    "sinkhorn_divergence_grid",
    "sliced_wasserstein",
    "sliced_wasserstein_estimate",
    "transport",
    "transport_grid",
    "transport_matrix",
    "triangular",
    "tv",
    "two_sample_test",
    "wasserstein",
    "witness",
]
