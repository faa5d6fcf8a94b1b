"""One module for each distance of the catalogue between points or probabilities."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from howfar import _checks, catalog
from howfar._errors import DomainError, complaint, unknown_name
from howfar.optimal_transport.debiasing import Potentials
from howfar.optimal_transport.losses import divergence_from

_PER_CALL = ("a", "b", "init")


def reduced(value: Tensor, reduction: str | None) -> Tensor:
    """The values of a batch as they are ("none" or None), their mean, or their sum."""
    if reduction is None or reduction == "none":
        return value
    return value.mean() if reduction == "mean" else value.sum()


def check_reduction(reduction: str | None) -> str:
    """ "none", "mean" or "sum"; None counts as "none"."""
    return "none" if reduction is None else _checks.check_choice(reduction, "reduction", ("none", "mean", "sum"))


class Distance(nn.Module):
    """A distance as a module: options at construction, the two sides at the call.

    Args:
        reduction: "none" gives one number for each batch element, "mean" and "sum" reduce them.
        options: the keyword options of the function of the same row.

    Raises:
        UnknownName: an option that the function does not have.

    Example:
        >>> import torch, howfar
        >>> loss = howfar.nn.Energy(exponent=1.0)
        >>> loss(torch.tensor([[0.0]]), torch.tensor([[1.0]]))
        tensor(2.)
    """

    row: ClassVar[str]

    def __init__(self, *, reduction: str | None = "none", **options: Any) -> None:
        """Check the names of the options."""
        super().__init__()
        self.reduction = check_reduction(reduction)
        function = catalog.row(self.row).function
        known = [
            name for name in inspect.signature(function).parameters if name not in ("x", "y", "p", "q", *_PER_CALL)
        ]
        if catalog.row(self.row).inputs != catalog.PROBABILITIES and "p" in inspect.signature(function).parameters:
            known.append("p")
        for name in options:
            if name not in known:
                raise unknown_name(f"{type(self).__name__} option", name, known)
        self.options = {**catalog.row(self.row).defaults, **options}
        if "blur" in options:
            self.options.pop("eps", None)

    @property
    def function(self) -> Callable[..., Tensor]:
        """The function that the module calls."""
        return catalog.row(self.row).function

    def forward(self, x: Any, y: Any, *, a: Any = None, b: Any = None) -> Tensor:
        """The distance of x and y, (...) or a scalar, with weights a and b where the function takes them."""
        weights = {name: w for name, w in (("a", a), ("b", b)) if w is not None}
        for name in weights:
            if name not in inspect.signature(self.function).parameters:
                fix = "The probabilities are the weights: leave it out."
                raise DomainError(complaint(name, f"nothing, as {self.row} takes no weights", "weights", fix))
        return reduced(self.function(x, y, **weights, **self.options), self.reduction)

    def extra_repr(self) -> str:
        """The options."""
        shown = [f"{name}={value!r}" for name, value in self.options.items()]
        return ", ".join([*shown, f"reduction={self.reduction!r}"])


class Wasserstein(Distance):
    """`howfar.wasserstein`."""

    row = "wasserstein"


class CircleWasserstein(Distance):
    """`howfar.circle_wasserstein`."""

    row = "circle_wasserstein"


class SinkhornDivergence(Distance):
    """`howfar.sinkhorn_divergence`; eps is 5 % of the mean cost when neither eps nor blur is given.

    Args:
        warm_start: start each solve from the potentials of the last call: fewer iterations to the same tolerance where
            the same points, in the same order, move a little from call to call, as when they are optimised themselves;
            not for batches drawn anew. They are forgotten when a shape, the dtype or the device changes, and are no
            part of `state_dict`.
        reduction: as in `Distance`.
        options: those of the function.

    Example:
        >>> import torch, howfar
        >>> x, y = torch.rand(20, 2).requires_grad_(), torch.rand(30, 2)
        >>> loss, optimizer = howfar.nn.SinkhornDivergence(blur=0.1, warm_start=True), torch.optim.SGD([x], lr=1.0)
        >>> for _ in range(3):
        ...     optimizer.zero_grad()
        ...     loss(x, y).backward()
        ...     optimizer.step()
    """

    row = "sinkhorn_divergence"

    def __init__(self, *, warm_start: bool = False, reduction: str | None = "none", **options: Any) -> None:
        """Check the names of the options."""
        super().__init__(reduction=reduction, **options)
        self.warm_start = warm_start
        self.reset()

    def reset(self) -> None:
        """Forget the potentials of the last call."""
        self._dtype: torch.dtype | None = None
        self._potentials: Potentials | None = None

    def forward(self, x: Any, y: Any, *, a: Any = None, b: Any = None) -> Tensor:
        """The divergence of x and y, (...) or a scalar, with weights a and b."""
        if not self.warm_start:
            return super().forward(x, y, a=a, b=b)
        dtype = getattr(x, "dtype", None)
        starts = self._potentials if dtype == self._dtype else None
        value, potentials = divergence_from(starts, x, y, a=a, b=b, **self.options)
        if potentials is not None:
            self._dtype, self._potentials = dtype, potentials
        return reduced(value, self.reduction)

    def extra_repr(self) -> str:
        """The options."""
        return f"{super().extra_repr()}, warm_start={self.warm_start}"


class SlicedWasserstein(Distance):
    """`howfar.sliced_wasserstein`."""

    row = "sliced_wasserstein"


class MaxSlicedWasserstein(Distance):
    """`howfar.max_sliced_wasserstein`."""

    row = "max_sliced_wasserstein"


class GaussianWasserstein(Distance):
    """`howfar.gaussian_wasserstein`."""

    row = "gaussian_wasserstein"


class Frechet(Distance):
    """`howfar.frechet_distance`."""

    row = "frechet_distance"


class Energy(Distance):
    """`howfar.energy_distance`."""

    row = "energy_distance"


class MMD2(Distance):
    """`howfar.mmd2`."""

    row = "mmd2"


class MMD(Distance):
    """`howfar.mmd`."""

    row = "mmd"


class KL(Distance):
    """`howfar.kl`."""

    row = "kl"


class ReverseKL(Distance):
    """`howfar.reverse_kl`."""

    row = "reverse_kl"


class JS(Distance):
    """`howfar.js`."""

    row = "js"


class Jeffreys(Distance):
    """`howfar.jeffreys`."""

    row = "jeffreys"


class TV(Distance):
    """`howfar.tv`."""

    row = "tv"


class Hellinger(Distance):
    """`howfar.hellinger`."""

    row = "hellinger"


class Chi2(Distance):
    """`howfar.chi2`."""

    row = "chi2"


class NeymanChi2(Distance):
    """`howfar.neyman_chi2`."""

    row = "neyman_chi2"


class Triangular(Distance):
    """`howfar.triangular`."""

    row = "triangular"


class AlphaDivergence(Distance):
    """`howfar.alpha_divergence`; alpha is 1/2 when left out."""

    row = "alpha_divergence"


class Renyi(Distance):
    """`howfar.renyi`; alpha is 1/2 when left out."""

    row = "renyi"
