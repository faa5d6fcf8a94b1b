"""Losses as modules: each holds its options and calls the function of the same row of the catalogue.

`howfar.nn.X(**options)(x, y)` equals `howfar.x(x, y, **options)`.
"""

from howfar.nn.adversarial import CriticLoss as CriticLoss
from howfar.nn.adversarial import GeneratorLoss as GeneratorLoss
from howfar.nn.adversarial import GradientPenalty as GradientPenalty
from howfar.nn.distances import JS as JS
from howfar.nn.distances import KL as KL
from howfar.nn.distances import MMD as MMD
from howfar.nn.distances import MMD2 as MMD2
from howfar.nn.distances import TV as TV
from howfar.nn.distances import AlphaDivergence as AlphaDivergence
from howfar.nn.distances import Chi2 as Chi2
from howfar.nn.distances import CircleWasserstein as CircleWasserstein
from howfar.nn.distances import Distance as Distance
from howfar.nn.distances import Energy as Energy
from howfar.nn.distances import Frechet as Frechet
from howfar.nn.distances import GaussianWasserstein as GaussianWasserstein
from howfar.nn.distances import Hellinger as Hellinger
from howfar.nn.distances import Jeffreys as Jeffreys
from howfar.nn.distances import MaxSlicedWasserstein as MaxSlicedWasserstein
from howfar.nn.distances import NeymanChi2 as NeymanChi2
from howfar.nn.distances import Renyi as Renyi
from howfar.nn.distances import ReverseKL as ReverseKL
from howfar.nn.distances import SinkhornDivergence as SinkhornDivergence
from howfar.nn.distances import SlicedWasserstein as SlicedWasserstein
from howfar.nn.distances import Triangular as Triangular
from howfar.nn.distances import Wasserstein as Wasserstein
from howfar.nn.familiar import MMDLoss as MMDLoss
from howfar.nn.familiar import SinkhornDistance as SinkhornDistance

__all__ = [
    "JS",
    "KL",
    "MMD",
    "MMD2",
    "TV",
    "AlphaDivergence",
    "Chi2",
    "CircleWasserstein",
    "CriticLoss",
    "Distance",
    "Energy",
    "Frechet",
    "GaussianWasserstein",
    "GeneratorLoss",
    "GradientPenalty",
    "Hellinger",
    "Jeffreys",
    "MMDLoss",
    "MaxSlicedWasserstein",
    "NeymanChi2",
    "Renyi",
    "ReverseKL",
    "SinkhornDistance",
    "SinkhornDivergence",
    "SlicedWasserstein",
    "Triangular",
    "Wasserstein",
]
