"""The pictures of README and docs, drawn from numbers that howfar computes: `python -m scripts.figures`.

Each function returns a figure, and the table at the end names its file. A test draws every one again and compares.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from matplotlib.figure import Figure
from PIL import Image
from sklearn.datasets import make_moons
from torch import Tensor

import howfar

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FOLDER = Path(__file__).parents[1] / "docs/images"
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#999999"
COLOURS = 64
"""Of a picture's palette: lines and text need no more, and the file is a third as large."""


def three_uses() -> Figure:
    """One pair of clouds: as a loss, as a number, as a test."""
    generator = torch.Generator().manual_seed(0)
    angles = torch.rand(80, generator=generator, dtype=torch.float64) * 2 * torch.pi
    ring = torch.stack([angles.cos(), angles.sin()], 1)
    blob = 0.25 * torch.randn(80, 2, generator=generator, dtype=torch.float64)

    figure, (left, middle, right) = _panels(3, height=3.3)
    path = descent(blob, ring)
    left.plot(path[:, :, 0].numpy(), path[:, :, 1].numpy(), color=GREY, linewidth=0.6, zorder=1)
    left.scatter(*blob.T.numpy(), s=10, color=BLUE, zorder=2, label="before")
    left.scatter(*path[-1].T.numpy(), s=10, color=ORANGE, zorder=3, label="after 40 steps")
    _title(left, "a loss: points follow its gradient")

    howfar.plot.assignments(blob, ring, howfar.transport(blob, ring), ax=middle)
    _title(middle, f"a number: $W_2$ = {howfar.wasserstein(blob, ring):.3f} in units of the data")

    few, other = blob[:20], 0.25 * torch.randn(20, 2, generator=generator, dtype=torch.float64) + 0.2
    test = howfar.two_sample_test(few, other, statistic="energy_distance", generator=generator)
    right.hist(test.null.numpy(), bins=40, color=GREY)
    right.axvline(float(test.statistic), color=ORANGE, linewidth=2)
    right.annotate(
        f"seen: {test.statistic:.2f}\np = {test.p_value:.3f}",
        (float(test.statistic), 0.7),
        xycoords=("data", "axes fraction"),
        xytext=(-8, 0),
        textcoords="offset points",
        ha="right",
    )
    _title(right, "a test: 20 rows against 20 others")
    right.set_xlabel("energy distance, labels dealt at random", fontsize=9)
    right.set_yticks([])
    right.locator_params(axis="x", nbins=5)
    _plane(left, middle)
    for axes in (left, middle):
        axes.legend(loc="upper right", fontsize=8, framealpha=1)
        axes.set_xlim(-1.2, 1.6)
        axes.set_ylim(-1.15, 1.45)
    return figure


def descent(points: Tensor, target: Tensor, steps: int = 40) -> Tensor:
    """(steps + 1, n, 2): points that descend the Sinkhorn divergence to the target."""
    loss = howfar.nn.SinkhornDivergence(blur=0.3)
    path = [points]
    for _ in range(steps):
        moving = path[-1].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(moving, target), moving)
        # The gradient of a mean over n points shrinks as 1 / n.
        path.append(path[-1] - 0.05 * len(points) * gradient)
    return torch.stack(path)


def moons() -> tuple[Tensor, Tensor]:
    """The two half moons of `make_moons(n_samples=30)`, 15 points each."""
    points, labels = make_moons(n_samples=30, shuffle=False)
    return torch.from_numpy(points[labels == 0]), torch.from_numpy(points[labels == 1])


def moon_plans() -> dict[str, tuple[Tensor, Tensor]]:
    """Title -> (<P, C>, P): the plan of the copied stopping rule, of the converged one, and the exact one."""
    x, y = moons()
    copied, copied_plan, _ = howfar.nn.SinkhornDistance(eps=0.1, max_iter=100, potential_tol=0.1)(x, y)
    cost, plan, _ = howfar.nn.SinkhornDistance(eps=0.1, max_iter=100)(x, y)
    exact = howfar.transport(x, y)
    return {
        "stopped by potentials": (copied, copied_plan),
        "stopped by marginals": (cost, plan),
        "exact": (exact.cost, exact.plan()),
    }


def assignments_of_moons() -> Figure:
    """What the two stopping rules return, beside the exact plan; below, the mass that each point of x sends."""
    x, y = moons()
    figure, rows = _grid(2, 3, width=10.0, height=3.8, ratios=(3, 2))
    for column, (title, (cost, plan)) in enumerate(moon_plans().items()):
        top, bottom = rows[0][column], rows[1][column]
        howfar.plot.assignments(x, y, plan, ax=top)
        _title(top, f"{title}: <P, C> = {cost:.4f}")
        _plane(top)
        top.get_legend().remove()
        bottom.axhline(1.0, color=ORANGE, linewidth=1)
        bottom.plot(15 * plan.sum(1).numpy(), "o", color=BLUE, markersize=4)
        bottom.set_ylim(0.9, 1.1)
        bottom.set_xticks([])
        bottom.set_xlabel("points of x")
    rows[1][0].set_ylabel("mass sent by\neach point of x,\nof what it has", fontsize=9)
    return figure


def separation() -> Figure:
    """Two uniform distributions that move apart: which distances notice."""
    figure, (axes,) = _panels(1, height=4.2, width=6.4)
    howfar.plot.distances_vs_shift(*howfar.plot.separation(), ax=axes)
    axes.set_xlabel("shift t between U[0, 1) and U[t, 1 + t)")
    return figure


def one_point() -> tuple[Tensor, dict[str, Tensor]]:
    """Distances t of two points, and the multi-kernel MMD^2 there with the data's own bandwidth and with a fixed one."""
    shifts = torch.linspace(0.05, 6.0, 120, dtype=torch.float64)
    x, y = torch.zeros(len(shifts), 1, 1, dtype=torch.float64), shifts[:, None, None]
    return shifts, {
        "bandwidth from the two points (default)": howfar.nn.MMDLoss()(x, y),
        "fix_sigma=4": howfar.nn.MMDLoss(fix_sigma=4.0)(x, y),
    }


def one_point_against_one() -> Figure:
    """Why one point against one point gives the same number at every distance."""
    figure, (axes,) = _panels(1, height=3.4, width=6.4)
    howfar.plot.distances_vs_shift(*one_point(), ax=axes)
    axes.set_xlabel("distance of the two points")
    axes.set_ylabel("MMDLoss")
    return figure


def dirac_paths(steps: int = 400, rate: float = 0.1) -> dict[str, Tensor]:
    """Title -> (steps + 1, 2): generator and critic of the smallest GAN, by simultaneous gradient steps.

    The data sit at 0, the generator's only point at theta, the critic is d(x) = psi x (Mescheder et al. 2018).
    """
    games: dict[str, tuple[str, float]] = {
        "wasserstein": ("wasserstein", 0.0),
        "non-saturating": ("non-saturating", 0.0),
        "non-saturating with R1": ("non-saturating", 1.0),
    }
    paths = {}
    for title, (name, weight) in games.items():
        objective = howfar.adversarial.objective(name)
        state = torch.tensor([1.0, 1.0], dtype=torch.float64)
        path = [state]
        for _ in range(steps):
            theta, psi = state[:1].clone().requires_grad_(), state[1:].clone().requires_grad_()
            data = torch.zeros(1, dtype=torch.float64)
            loss = objective.critic(real=psi * data, fake=psi * theta.detach())
            if weight:
                critic = _line(psi)
                loss = loss + howfar.adversarial.gradient_penalty(critic, real=data, kind="r1", weight=weight)
            (to_psi,) = torch.autograd.grad(loss, psi)
            (to_theta,) = torch.autograd.grad(objective.generator(fake=psi.detach() * theta), theta)
            state = state - rate * torch.cat([to_theta, to_psi])
            path.append(state)
        paths[title] = torch.stack(path)
    return paths


def _line(slope: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: slope * x


def smallest_gan() -> Figure:
    """Three games from one start: away, hardly nearer, to the goal."""
    figure, panels = _panels(3, height=3.2)
    for axes, (title, path) in zip(panels, dirac_paths().items(), strict=True):
        axes.plot(*path.T.numpy(), color=BLUE, linewidth=1)
        axes.plot(*path[0].numpy(), "o", color=GREY, label="start")
        axes.plot(*path[-1].numpy(), "s", color=ORANGE, label="after 400 steps")
        axes.plot(0, 0, "x", color=GREEN, markersize=9, markeredgewidth=2, label="goal")
        _title(axes, title)
        axes.set_xlabel("generator")
        axes.set_aspect("equal", adjustable="datalim")
    panels[0].set_ylabel("slope of the critic")
    panels[0].legend(fontsize=8)
    return figure


def two_shapes(n: int = 60) -> tuple[Tensor, Tensor]:
    """A ring and two blobs, n points each."""
    generator = torch.Generator().manual_seed(3)
    angles = 2 * torch.pi * torch.arange(n, dtype=torch.float64) / n
    ring = torch.stack([angles.cos(), angles.sin()], 1)
    blobs = 0.15 * torch.randn(n, 2, generator=generator, dtype=torch.float64)
    blobs[: n // 2] += torch.tensor([2.5, 0.8], dtype=torch.float64)
    blobs[n // 2 :] += torch.tensor([2.5, -0.8], dtype=torch.float64)
    return ring, blobs


def temperatures() -> Figure:
    """What eps does: two plans, and the numbers that follow it."""
    x, y = two_shapes()
    mean = float(howfar.costs.SqEuclidean().matrix(x, y).mean())
    figure, (left, middle, right) = _panels(3, height=3.2)
    for axes, share in ((left, 0.2), (middle, 0.002)):
        few = two_shapes(20)
        howfar.plot.assignments(*few, howfar.transport(*few, eps=share * mean), ax=axes)
        axes.get_legend().remove()
        _title(axes, f"eps = {100 * share:g} % of the mean cost")
    _plane(left, middle)
    shares, costs, divergences = cost_by_temperature()
    right.plot(shares, costs, color=ORANGE, label=r"$\langle P, C\rangle$")
    right.plot(shares, divergences, color=BLUE, label="Sinkhorn divergence")
    right.axhline(float(howfar.transport(x, y).value), color=GREY, linewidth=1, label="exact cost")
    right.axhline(
        float((x.mean(0) - y.mean(0)).square().sum()), color=GREY, linestyle=":", label="distance of the means"
    )
    right.set_xscale("log")
    right.set_xlabel("eps, as a share of the mean cost", fontsize=9)
    right.legend(fontsize=8, loc="upper left")
    _title(right, "the numbers")
    return figure


def cost_by_temperature() -> tuple[list[float], list[float], list[float]]:
    """Shares of the mean cost; <P, C> and the Sinkhorn divergence between the two shapes there."""
    x, y = two_shapes()
    mean = float(howfar.costs.SqEuclidean().matrix(x, y).mean())
    shares = [10 ** (k / 4) for k in range(-12, 9)]
    costs = [float(howfar.sinkhorn_distance(x, y, eps=share * mean)) for share in shares]
    return shares, costs, [float(howfar.sinkhorn_divergence(x, y, eps=share * mean)) for share in shares]


def bounds_by_temperature() -> tuple[list[float], list[float], list[float]]:
    """Shares of the mean cost; certified lower and upper bounds on the exact cost there."""
    x, y = two_shapes()
    mean = float(howfar.costs.SqEuclidean().matrix(x, y).mean())
    shares = [10 ** (k / 4) for k in range(-14, 1)]
    bounds = [howfar.transport(x, y, eps=share * mean).bounds for share in shares]
    return shares, [float(lower) for lower, _ in bounds], [float(upper) for _, upper in bounds]


def certificate() -> Figure:
    """Both bounds close on the exact cost as eps falls."""
    figure, (axes,) = _panels(1, height=3.4, width=6.4)
    shares, lower, upper = bounds_by_temperature()
    axes.fill_between(shares, lower, upper, color=BLUE, alpha=0.2, linewidth=0)
    axes.plot(shares, upper, color=BLUE, label="upper: the plan, rounded to the marginals")
    axes.plot(shares, lower, color=ORANGE, label="lower: a dual feasible pair")
    axes.axhline(float(howfar.transport(*two_shapes()).value), color=GREY, linewidth=1, label="exact cost")
    axes.set_xscale("log")
    axes.set_xlabel("eps, as a share of the mean cost")
    axes.legend(fontsize=8)
    return figure


def means_between() -> Figure:
    """Barycentres on the way from a ring to two blobs."""
    x, y = two_shapes()
    figure, panels = _panels(4, height=2.6)
    for axes, share in zip(panels, (0.0, 1 / 3, 2 / 3, 1.0), strict=True):
        r = howfar.barycenter([x, y], [1 - share, share], generator=torch.Generator().manual_seed(0))
        for cloud in (x, y):
            axes.plot(*cloud.T.numpy(), ".", color=GREY, markersize=2)
        axes.plot(*r.points.T.numpy(), ".", color=BLUE, markersize=5)
        _title(axes, f"weights {1 - share:.2f}, {share:.2f}")
    _plane(*panels)
    return figure


@dataclass(frozen=True)
class Picture:
    """A file and how to draw it."""

    name: str
    draw: Callable[[], Figure]


PICTURES = (
    Picture("three_uses.png", three_uses),
    Picture("moons.png", assignments_of_moons),
    Picture("separation.png", separation),
    Picture("one_point.png", one_point_against_one),
    Picture("smallest_gan.png", smallest_gan),
    Picture("temperatures.png", temperatures),
    Picture("certificate.png", certificate),
    Picture("barycenters.png", means_between),
)


def write(picture: Picture, folder: Path) -> Path:
    """The file of a picture, with few colours and without the name of the program that drew it."""
    path = folder / picture.name
    picture.draw().savefig(path, dpi=100, metadata={"Software": None})
    with Image.open(path) as image:
        small = image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    small.save(path, optimize=True)
    return path


def _panels(count: int, *, height: float, width: float = 10.0) -> tuple[Figure, list[Axes]]:
    figure, rows = _grid(1, count, width=width, height=height)
    return figure, rows[0]


def _grid(
    rows: int, columns: int, *, width: float, height: float, ratios: tuple[int, ...] | None = None
) -> tuple[Figure, list[list[Axes]]]:
    figure = Figure(figsize=(width, height), layout="constrained")
    made = figure.subplots(rows, columns, squeeze=False, height_ratios=ratios)
    for axes in made.flat:
        axes.tick_params(labelsize=8)
    return figure, [list(row) for row in made]


def _title(axes: Axes, text: str) -> None:
    axes.set_title(text, fontsize=10)


def _plane(*panels: Axes) -> None:
    for axes in panels:
        axes.set_aspect("equal", adjustable="box")
        axes.set_xticks([])
        axes.set_yticks([])


def main(names: Iterable[str]) -> int:
    """Draw the pictures of these names, all of them when none is given."""
    wanted = set(names)
    for picture in PICTURES:
        if not wanted or picture.name in wanted:
            path = write(picture, FOLDER)
            print(f"{path.relative_to(FOLDER.parents[1])}: {path.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
