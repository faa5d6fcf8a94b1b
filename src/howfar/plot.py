"""Pictures of results: every function draws on the axes it is given, or on a new figure, and returns the axes.

Nothing here touches pyplot: no current figure changes and no window opens. Save a picture with
`ax.figure.savefig("plan.png")`, or pass `ax=plt.gca()` to draw into a figure of your own.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from howfar._checks import as_tensor, check_count, check_finite, check_number, check_points, check_positive
from howfar._errors import DomainError, HowfarWarning, ShapeError, complaint

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["assignments", "cost", "distances_vs_shift", "plan", "separation"]

# Okabe and Ito's palette stays apart under the common colour deficiencies; black comes first, for the curve that leads.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#000000")
_LINE_STYLES = ("-", "--", "-.", ":")
_LINE_COLOUR = "#555555"
_MEAN_AREA = 30.0
_THINNEST = 0.25
"""The least height of a picture of two clouds by its width, or width by height."""
_LONGEST_SIDE, _BESIDE = 5.0, 0.6
"""Inches of a figure of two clouds: its longer side, and what the numbers on its axes take."""
_TOP = 0.985
"""Where infinite values are marked, in heights of the axes."""


def cost(r: Any, *, ax: Axes | None = None) -> Axes:
    """The cost matrix `C[i, j] = c(x_i, y_j)` as a heat map, in units of the cost.

    Args:
        r: a result of `howfar.transport`, or a matrix (n, m).
        ax: where to draw; a new figure when left out.

    Raises:
        ShapeError: the matrix has batch axes: draw one pair at a time.

    Example:
        >>> import torch, howfar.plot
        >>> howfar.plot.cost(torch.tensor([[0.0, 1.0], [1.0, 0.0]])).get_title()
        'cost'
    """
    matrix = r.problem.geometry.matrix() if hasattr(r, "problem") else r
    return _heat_map(_one_matrix(matrix, "r"), title="cost", unit="cost of moving from i to j", ax=ax)


def plan(r: Any, *, ax: Axes | None = None) -> Axes:
    """The coupling `P[i, j]`, the mass that goes from x_i to y_j, as a heat map.

    Args:
        r: a result of `howfar.transport`, or a coupling (n, m).
        ax: where to draw; a new figure when left out.

    Raises:
        ShapeError: the coupling has batch axes: draw one pair at a time.

    Example:
        >>> import torch, howfar.plot
        >>> howfar.plot.plan(torch.eye(3) / 3).get_xlabel()
        'j (points of y)'
    """
    return _heat_map(_coupling(r), title="plan", unit="mass moved from i to j", ax=ax, least=0.0)


def assignments(
    x: Any,
    y: Any,
    r: Any,
    *,
    ax: Axes | None = None,
    threshold: float = 1e-3,
    max_lines: int = 50_000,
) -> Axes:
    """Two clouds of the plane, and a line for each pair that exchanges mass, as opaque as its mass.

    The opacity of the line from x_i to y_j is `P[i, j] / max P`; the area of a point follows its weight in the plan.

    Args:
        x: points (n, 2).
        y: points (m, 2).
        r: a result of `howfar.transport` between them, or a coupling (n, m).
        ax: where to draw; a new figure when left out.
        threshold: pairs with less than this fraction of the largest mass get no line.
        max_lines: no more lines than this, the heaviest first.

    Raises:
        ShapeError: the points do not lie in the plane, have batch axes, or do not fit the plan.
        DomainError: the coupling is negative or has no mass.

    Warns:
        HowfarWarning: `max_lines` left out pairs above the threshold; says how much mass the picture shows.

    Example:
        >>> import torch, howfar.plot
        >>> x = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
        >>> ax = howfar.plot.assignments(x, x + 1, torch.eye(2) / 2)
        >>> len(ax.collections[0].get_segments())
        2
    """
    from matplotlib.collections import LineCollection

    points_x, points_y = _plane(x, "x"), _plane(y, "y")
    coupling = _coupling(r)
    if coupling.shape != (len(points_x), len(points_y)):
        raise ShapeError(
            complaint(
                "r",
                f"a plan of shape ({len(points_x)}, {len(points_y)}) between x and y",
                f"{tuple(coupling.shape)}",
                "Pass the same x and y, in the same order, that the plan was computed from.",
            )
        )
    if bool((coupling < 0).any()) or not bool(coupling.sum() > 0):
        raise DomainError(
            complaint("r", "a plan with masses >= 0 and a positive total", "another matrix", "Pass r or r.plan().")
        )
    threshold = check_number(threshold, "threshold", least=0.0)
    rows, columns = _heaviest(coupling, threshold, check_count(max_lines, "max_lines"))
    opacity = coupling[rows, columns] / coupling.max()
    axes = _axes(ax)
    # The heaviest lines come last, so that they lie on top.
    lines = LineCollection(
        list(torch.stack([points_x[rows], points_y[columns]], 1).numpy()),
        colors=[(_LINE_COLOUR, alpha) for alpha in opacity.tolist()],
        linewidths=1.0,
        zorder=1,
    )
    axes.add_collection(lines)
    clouds = (("x", points_x, coupling.sum(1), "o"), ("y", points_y, coupling.sum(0), "^"))
    for colour, (name, points, weights, marker) in zip(_COLOURS, clouds, strict=False):
        area = _MEAN_AREA * weights / weights.mean()
        axes.scatter(
            points[:, 0].numpy(),
            points[:, 1].numpy(),
            s=area.numpy(),
            c=colour,
            marker=marker,
            label=name,
            edgecolors="white",
            linewidths=0.5,
            zorder=2,
        )
    corners = _frame(torch.cat([points_x, points_y]))
    axes.update_datalim(corners.numpy())
    axes.autoscale_view()
    # The cost is seen as the length of a line, so both axes need one scale.
    axes.set_aspect("equal", adjustable="box")
    if ax is None:
        _fit(axes, corners)
    axes.legend()
    return axes


def separation(*, cells: int = 32, furthest: float = 2.0) -> tuple[Tensor, dict[str, Tensor]]:
    """Four distances between uniform distributions on [0, 1) and on [t, 1 + t), at shifts t.

    Where the supports are disjoint (t >= 1) the Jensen-Shannon divergence stays at log 2, its gradient is zero, and
    the cross-entropy of the best classifier, `2 log 2 - 2 JS`, stays at 0; KL is infinite as soon as t > 0; the
    Wasserstein distance is t everywhere (Arjovsky, Chintala and Bottou 2017, example 1).

    Args:
        cells: cells of the histogram in the unit interval; the shifts are whole cells.
        furthest: the largest shift, in widths of the distributions.

    Returns:
        The shifts (s,) and the curves, each (s,), by name: `W1` in units of the data, the others in nats.

    Example:
        >>> import howfar.plot
        >>> shifts, curves = howfar.plot.separation(cells=4, furthest=1.5)
        >>> bool((curves["W1"] - shifts).abs().max() < 1e-12)
        True
        >>> [round(value, 4) for value in curves["JS"].tolist()]
        [0.0, 0.1733, 0.3466, 0.5199, 0.6931, 0.6931, 0.6931]
    """
    from howfar.f_divergences import js, kl
    from howfar.optimal_transport import wasserstein

    cells = check_count(cells, "cells")
    steps = math.floor(check_positive(furthest, "furthest") * cells + 1e-9)

    shifts = torch.arange(steps + 1, dtype=torch.float64) / cells
    p = torch.zeros(steps + 1, cells + steps, dtype=torch.float64)
    p[:, :cells] = 1 / cells
    q = torch.stack([row.roll(k) for k, row in enumerate(p)])
    centres = (torch.arange(cells, dtype=torch.float64) + 0.5) / cells
    moved = centres + shifts[:, None]
    best_classifier = torch.special.xlogy(p, (p + q) / p).nansum(-1) + torch.special.xlogy(q, (p + q) / q).nansum(-1)
    return shifts, {
        "W1": wasserstein(centres[:, None].expand(steps + 1, cells, 1), moved[..., None], p=1),
        "JS": js(p, q),
        "KL": kl(p, q),
        "BCE of the best classifier": best_classifier,
    }


def distances_vs_shift(shifts: Any, curves: Mapping[str, Any], *, ax: Axes | None = None) -> Axes:
    """Distances as a family of distributions moves apart: one curve each, infinite values marked at the upper edge.

    Args:
        shifts: where the curves are known (s,), in units of the data.
        curves: name -> values (s,), such as `separation()` returns.
        ax: where to draw; a new figure when left out.

    Raises:
        ShapeError: a curve has not one value for each shift.

    Example:
        >>> import howfar.plot
        >>> ax = howfar.plot.distances_vs_shift([0, 1, 2], {"W1": [0, 1, 2], "KL": [0, float("inf"), float("inf")]})
        >>> [line.get_label() for line in ax.get_lines()]
        ['W1', 'KL (infinite where marked)']
    """
    positions = _numbers(shifts, "shifts")
    values = {name: _numbers(curve, f"curves[{name!r}]") for name, curve in curves.items()}
    for name, curve in values.items():
        if curve.shape != positions.shape or positions.ndim != 1:
            raise ShapeError(
                complaint(
                    f"curves[{name!r}]",
                    f"one value for each shift, shape ({positions.numel()},)",
                    f"shape {tuple(curve.shape)}",
                    "Evaluate every distance at every shift.",
                )
            )
    axes = _axes(ax)
    for i, (name, curve) in enumerate(values.items()):
        colour = _COLOURS[i % len(_COLOURS)]
        infinite = curve.isinf()
        finite = curve.masked_fill(infinite, math.nan)
        label = f"{name} (infinite where marked)" if bool(infinite.any()) else name
        axes.plot(
            positions.numpy(),
            finite.numpy(),
            label=label,
            color=colour,
            linestyle=_LINE_STYLES[i % len(_LINE_STYLES)],
            linewidth=2,
            marker=_lone_marker(finite),
        )
        if bool(infinite.any()):
            axes.scatter(
                positions[infinite].numpy(),
                torch.full((int(infinite.sum()),), _TOP).numpy(),
                transform=axes.get_xaxis_transform(),
                marker="^",
                s=18,
                color=colour,
                clip_on=False,
                zorder=3,
            )
    axes.set_xlabel("shift")
    axes.set_ylabel("distance")
    axes.margins(x=0)
    axes.set_ylim(bottom=0)
    # Above the axes, because inside it would cover the marks of what is infinite.
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)
    return axes


def _frame(points: Tensor) -> Tensor:
    """(2, 2): the corners of the rectangle around points (n, 2), widened where it is thinner than `_THINNEST`."""
    low, high = points.amin(0), points.amax(0)
    longest = float((high - low).max()) or 1.0
    half = (high - low).clamp_min(_THINNEST * longest) / 2
    return torch.stack([(low + high) / 2 - half, (low + high) / 2 + half])


def _fit(axes: Axes, corners: Tensor) -> None:
    """Give the figure of these axes the shape of what they show, and some room for the numbers beside them."""
    from matplotlib.figure import Figure

    extents = corners[1] - corners[0]
    if isinstance(axes.figure, Figure):
        axes.figure.set_size_inches(*(_LONGEST_SIDE * extents / extents.max() + _BESIDE).tolist())


def _lone_marker(values: Tensor) -> str | None:
    """A curve that is finite at one shift only has no segment to show: give it a dot."""
    return "o" if int(values.isfinite().sum()) == 1 else None


def _heat_map(matrix: Tensor, *, title: str, unit: str, ax: Axes | None, least: float | None = None) -> Axes:
    import numpy as np

    axes = _axes(ax)
    n, m = matrix.shape
    image = axes.imshow(
        np.ma.masked_invalid(matrix.numpy()),
        vmin=least,
        cmap="viridis",
        aspect="equal" if max(n, m) <= 4 * min(n, m) else "auto",
    )
    axes.figure.colorbar(image, ax=axes, label=unit)
    axes.set_title(title)
    axes.set_xlabel("j (points of y)")
    axes.set_ylabel("i (points of x)")
    axes.locator_params(integer=True)
    return axes


def _heaviest(coupling: Tensor, threshold: float, max_lines: int) -> tuple[Tensor, Tensor]:
    """Rows and columns of the pairs to draw, the lightest first."""
    masses = coupling.flatten()
    kept = ((masses > 0) & (masses >= threshold * masses.max())).nonzero().squeeze(-1)
    if len(kept) > max_lines:
        drawn = masses[kept].topk(max_lines).indices
        share = float(masses[kept[drawn]].sum() / masses.sum())
        warnings.warn(
            f"assignments: drew the {max_lines} heaviest of {len(kept)} pairs, {share:.0%} of the mass. "
            "Raise max_lines to see more, or threshold to see fewer.",
            HowfarWarning,
            stacklevel=3,
        )
        kept = kept[drawn]
    kept = kept[masses[kept].argsort()]
    return kept // coupling.shape[1], kept % coupling.shape[1]


def _coupling(r: Any) -> Tensor:
    coupling = _one_matrix(r.plan() if callable(getattr(r, "plan", None)) else r, "r")
    check_finite(coupling, "r")
    return coupling


def _one_matrix(value: Any, name: str) -> Tensor:
    matrix = _numbers(value, name)
    if matrix.ndim == 2 and matrix.numel():
        return matrix
    fix = "Pick one pair of the batch, such as r.plan()[0] or C[0]." if matrix.ndim > 2 else "Pass a matrix."
    raise ShapeError(complaint(name, "one matrix of shape (n, m)", f"shape {tuple(matrix.shape)}", fix))


def _plane(value: Any, name: str) -> Tensor:
    points = check_points(value, name).detach().to("cpu", torch.float64)
    if points.shape[-1] != 2:
        raise ShapeError(
            complaint(
                name,
                "points of the plane, shape (n, 2)",
                f"{tuple(points.shape)}",
                f"Pass two features, such as {name}[:, :2], or a projection onto two principal axes.",
            )
        )
    if points.ndim > 2:
        raise ShapeError(
            complaint(name, "one cloud of shape (n, 2)", f"{tuple(points.shape)}", f"Pick one of the batch: {name}[0].")
        )
    return points


def _numbers(value: Any, name: str) -> Tensor:
    return as_tensor(value, name).detach().to("cpu", torch.float64)


def _axes(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    from matplotlib.figure import Figure

    axes: Axes = Figure(layout="constrained").subplots()
    return axes
