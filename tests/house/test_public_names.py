"""What is public: said in one place, documented with an example, and as promised."""

from __future__ import annotations

import ast
import enum
import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from torch import nn as torch_nn

import howfar

PACKAGE = Path(howfar.__file__).parent

FOLDERS = ("howfar", "howfar.adversarial", "howfar.nn", "howfar.ops")
"""Namespaces that show names of the files below them."""
FILES = {"howfar.costs": ast.ClassDef, "howfar.kernels": ast.ClassDef, "howfar.plot": ast.FunctionDef}
"""Namespaces that are a file, and what a user takes from it."""
NAMESPACES = (*FOLDERS, *FILES)

RETURNED = {
    "AffineMap",
    "Barycenter",
    "Comparison",
    "Estimate",
    "Explanation",
    "GaussianFit",
    "Measure",
    "OTResult",
    "Row",
    "Status",
    "Table",
    "TwoSampleTest",
    "VariationalForm",
}
"""What functions return: the example of the function shows it."""
BASES = {"Cost", "Kernel", "Objective"}
"""What others are made from."""


def shown(source: str) -> list[str]:
    """The public names that an `__init__` binds, in the order of its lines."""
    names: list[str] = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.ImportFrom | ast.Import):
            names += [alias.asname or alias.name for alias in node.names]
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names += [target.id for target in targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.append(node.name)
    return [name for name in names if name == "__version__" or not name.startswith("_")]


def in_order(names: list[str]) -> list[str]:
    """Constants, classes, functions, each by the alphabet."""

    def rank(name: str) -> tuple[int, str]:
        bare = name.strip("_")
        constant = bare.isupper() and len(bare) > 1
        return (0 if constant else 1 if bare[0].isupper() else 2), name

    return sorted(names, key=rank)


def source_of(module: ModuleType) -> str:
    assert module.__file__ is not None
    return Path(module.__file__).read_text(encoding="utf-8")


def public() -> Iterator[tuple[str, str, Any]]:
    """(namespace, name, object) for everything public."""
    for namespace in NAMESPACES:
        module = importlib.import_module(namespace)
        yield from ((namespace, name, getattr(module, name)) for name in module.__all__)


@pytest.mark.parametrize("namespace", FOLDERS)
def test_a_namespace_says_what_it_shows(namespace: str) -> None:
    module = importlib.import_module(namespace)
    visible = shown(source_of(module))
    assert module.__all__ == in_order(visible)
    assert len(set(visible)) == len(visible)


@pytest.mark.parametrize("namespace", FILES)
def test_a_file_says_what_a_user_takes_from_it(namespace: str) -> None:
    module = importlib.import_module(namespace)
    kind = FILES[namespace]
    defined = [node.name for node in ast.parse(source_of(module)).body if isinstance(node, kind)]
    assert module.__all__ == in_order([name for name in defined if not name.startswith("_")])


def test_the_look_at_names_can_fail() -> None:
    source = "from a import b as b\nfrom a import _c\nimport d.e as e\nF: int = 1\n__version__ = '1'\ndef g(): ...\n"
    assert shown(source) == ["b", "e", "F", "__version__", "g"]
    assert in_order(["b", "Zed", "ALL", "An", "__version__"]) == ["ALL", "An", "Zed", "__version__", "b"]


def test_every_namespace_is_in_the_front_door_and_says_what_it_is() -> None:
    for namespace in NAMESPACES[1:]:
        assert namespace.removeprefix("howfar.") in howfar.__all__
    for namespace in NAMESPACES:
        assert len((importlib.import_module(namespace).__doc__ or "").strip()) > 20


def is_shell(thing: object) -> bool:
    """A module of `howfar.nn` that holds the name of its row and nothing else."""
    if not (inspect.isclass(thing) and issubclass(thing, torch_nn.Module)):
        return False
    own = {name for name in vars(thing) if not name.startswith("__")}
    return own == {"row"}


def wants_example(name: str, thing: object) -> bool:
    if not callable(thing):
        return False
    if inspect.isclass(thing) and issubclass(thing, Exception | enum.Enum):
        return False
    return not (is_shell(thing) or name in RETURNED | BASES)


DOCUMENTED = [
    pytest.param(name, thing, id=f"{namespace}.{name}".removeprefix("howfar."))
    for namespace, name, thing in public()
    if callable(thing)
]


@pytest.mark.parametrize(("name", "thing"), DOCUMENTED)
def test_everything_public_has_a_docstring_and_an_example(name: str, thing: Any) -> None:
    text = inspect.getdoc(thing) or ""
    assert len(text) > 10
    if wants_example(name, thing):
        assert ">>> " in text
    elif is_shell(thing):
        function = re.search(r"`howfar\.(\w+)`", text)
        assert function is not None
        assert ">>> " in inspect.getdoc(getattr(howfar, function[1]))


def test_no_file_or_folder_bears_the_name_of_a_public_function() -> None:
    functions = {name for _, name, thing in public() if callable(thing) and not inspect.isclass(thing)}
    assert {"transport", "mmd2", "softmin"} <= functions
    files = {path.name.removesuffix(".py") for path in PACKAGE.rglob("*") if path.suffix in ("", ".py")}
    assert files & functions == set()


DRAWERS = re.compile(
    r"(^|_)(utils?|helpers?|tools?|misc|common|stuff|core|base|new|old|fast|fused|simple|final|tmp|temp|v\d+|\w*\d+)($|_)"
)


def test_no_file_is_a_drawer_or_a_version() -> None:
    names = {path.name.removesuffix(".py") for path in PACKAGE.rglob("*") if path.suffix in ("", ".py")}
    assert [name for name in sorted(names) if DRAWERS.search(name)] == []
    refused = ("utils", "my_helpers", "tools", "v2", "fast_softmin", "softmin_fast", "kernel2", "softmin_v2", "misc")
    assert all(DRAWERS.search(name) for name in refused)
    assert not any(DRAWERS.search(name) for name in ("two_sample", "soft_minimum", "kernels", "one_dimensional"))


POINTS = "x y"
WEIGHTS = "a b"
PROMISED = {
    "transport": f"{POINTS} * {WEIGHTS} cost eps blur reach accuracy tol max_iter init backend",
    "transport_matrix": f"C {WEIGHTS} *",
    "wasserstein": f"{POINTS} * p",
    "sinkhorn_distance": f"{POINTS} * eps",
    "sinkhorn_divergence": f"{POINTS} * eps blur reach",
    "sliced_wasserstein": f"{POINTS} * p n_projections generator",
    "max_sliced_wasserstein": f"{POINTS} * p generator",
    "barycenter": "clouds weights *",
    "transport_grid": f"{WEIGHTS} * spacing eps blur reach accuracy",
    "gaussian_wasserstein": f"{POINTS} *",
    "frechet_distance": f"{POINTS} *",
    "mmd2": f"{POINTS} * kernel bandwidth estimator",
    "mmd": f"{POINTS} * kernel bandwidth estimator",
    "energy_distance": f"{POINTS} * exponent",
    "MultiBandwidth": "mul num base",
    "kl": "p q * from_logits",
    "reverse_kl": "p q * from_logits",
    "js": "p q * from_logits",
    "tv": "p q * from_logits",
    "hellinger": "p q * from_logits",
    "chi2": "p q * from_logits",
    "jeffreys": "p q * from_logits",
    "alpha_divergence": "p q alpha * from_logits",
    "renyi": "p q alpha * from_logits",
    "f_divergence": "p q divergence * from_logits",
    "two_sample_test": f"{POINTS} * statistic n_permutations blocks generator",
    "load": "source",
    "compare": "reference current * columns alpha tolerance generator",
    "Estimate": "value interval warnings",
    "OTResult.plan": "self",
    "OTResult.apply": "self v side",
    "OTResult.map": "self z",
    "kernels.Gaussian": "s",
    "kernels.Laplacian": "s",
    "kernels.IMQ": "s",
    "kernels.RationalQuadratic": "s alpha",
    "kernels.Energy": "exponent",
    "kernels.Polynomial": "degree gamma coef",
    "costs.SqEuclidean": "",
    "costs.Euclidean": "",
    "costs.CityBlock": "",
    "costs.Minkowski": "p",
    "costs.Cosine": "",
    "adversarial.Minimax": "",
    "adversarial.NonSaturating": "",
    "adversarial.BCE": "",
    "adversarial.LeastSquares": "",
    "adversarial.Hinge": "",
    "adversarial.Logistic": "",
    "adversarial.Wasserstein": "",
    "adversarial.RelativisticPaired": "",
    "adversarial.RelativisticAverage": "",
    "adversarial.Wasserstein.critic": "self * real fake",
    "adversarial.Wasserstein.generator": "self * fake real",
    "adversarial.Wasserstein.estimate": "self * real fake",
    "adversarial.gradient_penalty": "critic * real fake weight kind",
    "adversarial.clip_weights": "critic limit",
    "ops.softmin": f"{POINTS} h * eps cost backend",
    "ops.softmin_apply": f"{POINTS} h v * eps cost backend",
    "ops.kernel_sum": f"{POINTS} w * kernel backend",
    "ops.nearest": f"{POINTS} h * k cost backend",
    "nn.SinkhornDistance": "eps max_iter reduction",
    "nn.MMDLoss": "kernel_mul kernel_num fix_sigma",
    "nn.MMDLoss.forward": "self source target",
    "nn.SinkhornDivergence": "* reduction",
    "nn.Wasserstein": "* reduction",
    "nn.SlicedWasserstein": "* reduction",
    "nn.MMD": "* reduction",
    "nn.Energy": "* reduction",
    "nn.JS": "* reduction",
}
"""The contract: parameters by name, keyword-only beyond the star."""
DEFAULTS: dict[str, dict[str, Any]] = {
    "transport": {"cost": "sqeuclidean", "eps": None, "blur": None, "reach": None, "accuracy": None, "init": None},
    "wasserstein": {"p": 2},
    "mmd2": {"kernel": "gaussian", "bandwidth": "median", "estimator": "unbiased"},
    "energy_distance": {"exponent": 1.0},
    "MultiBandwidth": {"mul": 2.0, "num": 5, "base": None},
    "adversarial.gradient_penalty": {"weight": 10.0, "kind": "two-sided"},
    "ops.softmin": {"cost": "sqeuclidean", "backend": "auto"},
    "ops.nearest": {"h": None, "k": 1},
    "nn.SinkhornDistance": {"reduction": "none"},
    "nn.MMDLoss": {"kernel_mul": 2.0, "kernel_num": 5, "fix_sigma": None},
    "compare": {"columns": None, "alpha": 0.05, "tolerance": None, "generator": None},
    "two_sample_test": {"statistic": "mmd_fuse", "blocks": None, "generator": None},
}


def promised(path: str) -> Callable[..., Any]:
    thing: Any = howfar
    for part in path.split("."):
        thing = getattr(thing, part)
    assert callable(thing)
    return thing


@pytest.mark.parametrize("path", PROMISED)
def test_the_contract_is_kept(path: str) -> None:
    positional, star, keywords = PROMISED[path].partition("*")
    parameters = inspect.signature(promised(path)).parameters
    free = [name for name, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert [name for name in free if name in positional.split()] == positional.split()
    assert set(keywords.split()) <= set(parameters)
    if star:
        assert free == positional.split()
    for name, default in DEFAULTS.get(path, {}).items():
        assert parameters[name].default == default


def test_results_carry_what_is_promised() -> None:
    for attribute in ("value", "cost", "potentials", "bounds", "status", "converged", "n_iter", "marginal_error"):
        assert attribute in dir(howfar.OTResult) or attribute in howfar.OTResult.__dataclass_fields__
    for attribute in ("statistic", "p_value", "n_permutations", "null"):
        assert attribute in howfar.TwoSampleTest.__dataclass_fields__
    for attribute in ("verdict", "distances", "columns", "locations", "to_json", "to_html"):
        assert attribute in dir(howfar.Comparison) or attribute in howfar.Comparison.__dataclass_fields__
