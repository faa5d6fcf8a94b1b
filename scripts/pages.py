"""The tables of README and docs that are made from the package: `python -m scripts.pages` writes them in place.

A table stands between two comments, `<!-- made by scripts/pages.py: NAME -->` and `<!-- end: NAME -->`, and a test
fails where it is not what this file makes.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

import howfar
from howfar import catalog

ROOT = Path(__file__).parents[1]
FILES = tuple(ROOT / name for name in ("README.md", "docs/choosing.md", "docs/adversarial.md", "docs/api.md"))
_PART = re.compile(r"(<!-- made by scripts/pages\.py: (\S+) -->\n).*?(<!-- end: \2 -->)", re.DOTALL)

_FAMILIAR = {"sinkhorn_distance": "`nn.SinkhornDistance`", "multi_kernel_mmd": "`nn.MMDLoss`"}
"""Modules that do not carry the name of their row: they keep the shape of others that are widely copied."""

_SECTIONS = {
    "optimal_transport": "Optimal transport",
    "kernel_distances": "Kernel distances",
    "f_divergences": "f-divergences",
    "two_sample": "Tests",
    "data": "Data and comparison",
    "comparison": "Data and comparison",
    "measure": "Measures and results",
    "results": "Measures and results",
    "_errors": "Errors and warnings",
}
"""Package below `howfar` -> heading of the API page."""


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |\n" for line in lines)


def catalogue() -> str:
    """Every distance of the catalogue, by what it takes."""
    modules = _FAMILIAR | {
        row: f"`nn.{name}`"
        for name in howfar.nn.__all__
        if (row := getattr(getattr(howfar.nn, name), "row", None)) is not None
    }
    parts = []
    for title, inputs in (
        ("Between two clouds, `x` (..., n, d) and `y` (..., m, d)", catalog.POINTS),
        ("Between angles, `x` (..., n, 1) and `y` (..., m, 1)", catalog.ANGLES),
        ("Between probabilities, `p` and `q` (..., k), or `torch.distributions`", catalog.PROBABILITIES),
    ):
        rows = [
            (f"`{row.name}`", modules.get(row.name, ""), _unit(row.unit), _text(row.summary))
            for row in _rows_of(inputs)
        ]
        parts.append(f"{title}:\n\n{table(('function', 'module', 'unit', 'what it is'), rows)}")
    parts.append(
        "From the scores of a critic, `howfar.adversarial.objective(name)`:\n\n"
        + table(("objective", "its critic's optimum tells"), [(f"`{n}`", _text(d)) for n, d in _divergences()])
    )
    return "\n" + "\n".join(parts) + "\n"


def laws() -> str:
    """What the catalogue promises of each distance, and the conformance suite holds it to."""
    header = ("", "unit", "symmetric", ">= 0", "0 when equal", "weights", "x -> t x", "2nd derivative", "draws")
    rows = [
        (
            f"`{row.name}`",
            _unit(row.unit),
            _yes(row.symmetric),
            _yes(row.nonnegative),
            _yes(row.zero_on_equal),
            _yes(row.weighted) if row.inputs != catalog.PROBABILITIES else "",
            "" if row.degree is None else {0.0: "unchanged", 1.0: "times t", 2.0: "times t^2"}[row.degree],
            _yes(row.second_order),
            _yes(row.random),
        )
        for inputs in (catalog.POINTS, catalog.ANGLES, catalog.PROBABILITIES)
        for row in _rows_of(inputs)
    ]
    return "\n" + table(header, rows) + "\n"


def objectives() -> str:
    """The table of adversarial objectives."""
    rows = [
        (
            f"`{row.name}`" + "".join(f", `{alias}`" for alias in row.aliases),
            _text(row.divergence),
            _text(row.optimum),
            row.source,
        )
        for row in howfar.adversarial.OBJECTIVES.values()
    ]
    header = ("name, aliases", "`estimate` at the optimum", "the optimal critic", "source")
    return "\n" + table(header, rows) + "\n"


def penalties() -> str:
    """The penalties and the batches that each needs."""
    rows = [
        (f"`{name}`", ", ".join(f"`{batch}=`" for batch in penalty.needs), "0" if penalty.centred else "`target`")
        for name, penalty in howfar.adversarial.PENALTIES.items()
    ]
    return "\n" + table(("kind", "needs", "asks for the slope"), rows) + "\n"


def api() -> str:
    """Every public name with the first line of its docstring."""
    sections: dict[str, list[tuple[str, str]]] = {title: [] for title in _SECTIONS.values()}
    for name in public_names():
        value = getattr(howfar, name)
        if isinstance(value, ModuleType):
            sections[f"`howfar.{name}`"] = [
                (f"`{name}.{member}`", _text(described(value, member))) for member in members(value)
            ]
        else:
            sections[_SECTIONS[_package(howfar, name)]].append((f"`{name}`", _text(described(howfar, name))))
    order = sorted(sections, key=lambda title: title.startswith("`"))
    return "\n" + "\n".join(f"## {title}\n\n{table(('name', ''), sections[title])}" for title in order) + "\n"


def public_names() -> list[str]:
    """The names that `howfar/__init__.py` imports for its users, in its order; modules among them are namespaces."""
    return [name for name, _ in _exports(howfar) if not name.startswith("_")]


def members(module: ModuleType) -> list[str]:
    """The public names of a namespace: its `__all__`, or what it defines itself."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    return [name for name in _definitions(module) if not name.startswith("_")]


def described(module: ModuleType, name: str) -> str:
    """The first line of the docstring of a name, be it a class, a function or a constant."""
    value = getattr(module, name)
    if not (inspect.isclass(value) or inspect.isfunction(value)):
        origin = sys.modules[_origin(module, name)]
        return _constants(origin)[name]
    if value.__name__ != name:
        return f"Another name of `{value.__name__}`."
    return (inspect.getdoc(value) or "").partition("\n\n")[0].replace("\n", " ")


def _package(module: ModuleType, name: str) -> str:
    return _origin(module, name).split(".")[1]


def _origin(module: ModuleType, name: str) -> str:
    """The module whose source defines the name."""
    while (found := dict(_exports(module)).get(name)) is not None:
        module = sys.modules[found]
    return module.__name__


def _exports(module: ModuleType) -> Iterator[tuple[str, str]]:
    """(name, the module that it is imported from) of the package's imports from itself."""
    for node in _tree(module).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("howfar"):
            yield from ((alias.asname or alias.name, node.module) for alias in node.names)


def _definitions(module: ModuleType) -> list[str]:
    names = []
    for node in _tree(module).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            names += [target.id for target in _targets(node) if isinstance(target, ast.Name)]
    return names


def _constants(module: ModuleType) -> Mapping[str, str]:
    """The string below each assignment, its first line."""
    body = _tree(module).body
    found = {}
    for node, following in pairwise(body):
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(following, ast.Expr):
            text = ast.literal_eval(following.value)
            found.update(
                {t.id: " ".join(text.partition("\n\n")[0].split()) for t in _targets(node) if isinstance(t, ast.Name)}
            )
    return found


def _targets(node: ast.Assign | ast.AnnAssign) -> list[ast.expr]:
    return node.targets if isinstance(node, ast.Assign) else [node.target]


def _tree(module: ModuleType) -> ast.Module:
    return ast.parse(inspect.getsource(module))


def _rows_of(inputs: str) -> list[Any]:
    return [row for row in catalog.rows() if row.inputs == inputs]


def _divergences() -> list[tuple[str, str]]:
    return [(row.name, row.divergence) for row in howfar.adversarial.OBJECTIVES.values()]


def _unit(unit: str) -> str:
    return {"none": "", "data": "the data's", "data^2": "the data's, squared", "cost": "the cost's"}.get(unit, unit)


def _yes(value: bool) -> str:
    return "yes" if value else ""


def _text(line: str) -> str:
    """Plain text that Markdown shows as it is; what stands in backticks already does."""
    parts = re.split(r"(`[^`]*`)", line)
    return "".join(part if part[:1] == "`" else re.sub(r"([*<]|\b_|_\b)", r"\\\1", part) for part in parts)


PARTS: Mapping[str, Callable[[], str]] = MappingProxyType(
    {"catalogue": catalogue, "laws": laws, "objectives": objectives, "penalties": penalties, "api": api}
)


def render(text: str) -> str:
    """The text of a page with every table made anew."""
    return _PART.sub(lambda match: match[1] + PARTS[match[2]]() + match[3], text)


def main() -> int:
    """Write the pages that changed."""
    for file in FILES:
        old = file.read_text(encoding="utf-8")
        if (new := render(old)) != old:
            file.write_text(new, encoding="utf-8")
            print(f"{file.relative_to(ROOT)}: written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
