"""Anderson acceleration of a fixed point, one mixture for each batch element (Walker & Ni 2011)."""

from __future__ import annotations

import torch
from torch import Tensor

_DEPTH = 12


class Anderson:
    """Mixes the last images of a map so that the mixed residual is smallest.

    Sinkhorn's map is self-adjoint in the inner product weighted by b, so residuals are measured in it. The ridge
    stands at the rounding noise of the residuals: less would fit noise, more would waste the history.
    """

    def __init__(self, weights: Tensor, *, gauge: bool) -> None:
        """`weights` (..., m) of the inner product; `gauge` where a constant added to a point changes nothing."""
        self._weights = weights
        self._gauge = gauge
        self._images: list[Tensor] = []
        self._residuals: list[Tensor] = []
        self._valid: list[Tensor] = []

    def next(self, point: Tensor, image: Tensor, restart: Tensor) -> Tensor:
        """The next point after the map took `point` to `image`; elements in `restart` forget and take the image."""
        residual = image - point
        if self._gauge:
            mean = (self._weights * residual).sum(-1, keepdim=True) / self._weights.sum(-1, keepdim=True)
            residual = residual - mean
        self._valid = [v & ~restart for v in self._valid]
        self._images.append(image)
        self._residuals.append(residual)
        # Where it starts anew nothing was measured: a residual of zero would hold the mixture at that point.
        self._valid.append(~restart)
        if len(self._images) > _DEPTH:
            for history in (self._images, self._residuals, self._valid):
                history.pop(0)
        if len(self._images) == 1:
            return image
        residuals = torch.stack(self._residuals, -2).double()
        valid = torch.stack(self._valid, -1)
        gram = (residuals * self._weights.double().unsqueeze(-2)) @ residuals.mT
        diagonal = gram.diagonal(dim1=-2, dim2=-1)
        noise = (torch.finfo(point.dtype).eps * point.abs().amax(-1, keepdim=True)).double().square()
        ridge = 1e-13 * diagonal.amax(-1, keepdim=True) + noise + torch.finfo(torch.float64).tiny
        gram = torch.where(valid.unsqueeze(-1) & valid.unsqueeze(-2), gram, 0)
        gram = gram + torch.diag_embed(torch.where(valid, ridge, 1.0))
        mixture = torch.where(valid, torch.linalg.solve(gram, valid.double()), 0)
        total = mixture.sum(-1, keepdim=True)
        mixture = torch.where(total == 0, 0, mixture / total).to(point.dtype)
        images = torch.stack(self._images, -2)
        # Differences from the newest image keep the digits that a sum of large potentials would lose.
        return image + (mixture.unsqueeze(-1) * (images - image.unsqueeze(-2))).sum(-2)
