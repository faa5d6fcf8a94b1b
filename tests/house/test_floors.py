"""Imports only go down: the plan of DESIGN.md, read from that page and held against every file of the package.

The walk sees every import of the house wherever it stands: at the top, inside a function, under TYPE_CHECKING,
relative, or as a literal of `import_module`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "howfar"
PLAN = (ROOT / "DESIGN.md").read_text(encoding="utf-8")

FRONT_DOORS = {"__init__.py", "__main__.py"}
"""They show what the house has, so they see every floor and no floor sees them."""
ROOM_OF_THE_GROUND_FLOOR = "ops"
"""Floor 0 has one room, and leaves below it, which may import each other."""


def floors(plan: str) -> dict[str, float]:
    """Room or leaf -> floor, from the block of floors in DESIGN.md; the leaves lie half a floor below floor 0."""
    block = re.search(r"## Floors.*?```text\n(.*?)```", plan, re.DOTALL)
    assert block is not None
    floor, found = -1, {}
    for line in block[1].splitlines():
        number, rest = line[:5].strip(), line[5:]
        floor = int(number) if number else floor
        names = re.match(r"(?:\w+(?:/|\.py)\s+)+", rest)
        assert names is not None, f"a line without a room: {line!r}"
        for name in names[0].split():
            room = name.removesuffix("/").removesuffix(".py")
            found[room] = floor - 0.5 if floor == 0 and room != ROOM_OF_THE_GROUND_FLOOR else float(floor)
    return found


def module_name(file: Path, package: Path) -> str:
    parts = list(file.relative_to(package.parent).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_module(name: str, package: Path) -> bool:
    path = package.parent.joinpath(*name.split("."))
    return (path / "__init__.py").is_file() or path.with_suffix(".py").is_file()


def imported(file: Path, package: Path) -> Iterator[str]:
    """The full names of the modules of the house that a file imports, anywhere in it."""
    own = module_name(file, package).split(".")
    base = own if file.name == "__init__.py" else own[:-1]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = base[: len(base) - node.level + 1] if node.level else []
            source = ".".join([*start, *([node.module] if node.module else [])])
            # `from package import part` is an arrow to the part where it is a module, and to the package otherwise.
            members = [f"{source}.{alias.name}" for alias in node.names]
            names = [member if is_module(member, package) else source for member in members]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            names = [str(node.args[0].value)] if called in ("import_module", "__import__") else []
        else:
            continue
        yield from (name for name in names if name.split(".")[0] == package.name)


def arrows(package: Path) -> set[tuple[str, str]]:
    """(importing module, imported module) over the whole package."""
    return {(module_name(file, package), name) for file in package.rglob("*.py") for name in imported(file, package)}


def room(module: str) -> str:
    """The room or leaf a module lies in; empty for the front door."""
    return module.split(".")[1] if "." in module else ""


def offences(package: Path, plan: dict[str, float]) -> list[str]:
    """One sentence for each file without a floor and each arrow that points up or sideways."""
    found = []
    for file in sorted(package.rglob("*.py")):
        if file.relative_to(package).as_posix() not in FRONT_DOORS and room(module_name(file, package)) not in plan:
            found.append(f"{module_name(file, package)} has no floor")
    for source, target in sorted(arrows(package)):
        start, end = room(source), room(target)
        if start in ("", "__main__") or start == end or start not in plan:
            continue
        if end not in plan:
            found.append(f"{source} -> {target}: not a room of the plan")
        elif plan[end] > plan[start]:
            found.append(f"{source} -> {target}: up, from floor {plan[start]:g} to {plan[end]:g}")
        elif plan[end] == plan[start] >= 0:
            found.append(f"{source} -> {target}: sideways on floor {plan[start]:g}")
    return found


def cycle(graph: set[tuple[str, str]]) -> list[str]:
    """The modules of one import cycle, or nothing."""
    below: dict[str, list[str]] = {}
    for source, target in sorted(graph):
        below.setdefault(source, []).append(target)
    done: set[str] = set()

    def walk(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        for target in below.get(module, ()):
            if found := walk(target, [*path, module]):
                return found
        done.add(module)
        return []

    return next((found for module in sorted(below) if (found := walk(module, []))), [])


def test_every_file_has_a_floor_and_every_arrow_points_down() -> None:
    assert offences(PACKAGE, floors(PLAN)) == []


def test_no_import_cycles() -> None:
    assert cycle(arrows(PACKAGE)) == []


def test_every_room_of_the_plan_that_exists_is_where_the_plan_says() -> None:
    plan = floors(PLAN)
    assert plan["cli"] == 5
    assert plan["optimal_transport"] == plan["adversarial"] == 2
    assert plan["ops"] == 0 > plan["_checks"] == plan["costs"]
    rooms = {p.stem for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()}
    assert rooms - {"__init__", "__main__"} <= set(plan)


def test_every_folder_of_python_files_is_a_package() -> None:
    assert {f.parent for f in PACKAGE.rglob("*.py")} == {f.parent for f in PACKAGE.rglob("__init__.py")}


SOUND = {
    "howfar/__init__.py": "from howfar.families import distance as distance\nfrom howfar import ops as ops\n",
    "howfar/__main__.py": "from howfar.cli import main\n",
    "howfar/cli/__init__.py": "def main() -> None:\n    from howfar.families import distance\n",
    "howfar/families/__init__.py": "from howfar import ops, _checks\nfrom howfar.families.part import distance\n",
    "howfar/families/part.py": "from howfar._checks import check\n",
    "howfar/siblings/__init__.py": "",
    "howfar/ops/__init__.py": "from howfar import costs\n",
    "howfar/costs.py": "from . import _checks\n",
    "howfar/_checks.py": "",
}
PLAN_OF_THE_MODEL = """## Floors
```text
 5   cli/              commands
 2   families/  siblings/     two of them
 0   ops/              an op
     costs.py  _checks.py     leaves
```
"""


def built(tmp_path: Path, changes: dict[str, str]) -> Path:
    for name, text in {**SOUND, **changes}.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return tmp_path / "howfar"


def test_a_sound_model_house_passes(tmp_path: Path) -> None:
    package = built(tmp_path, {})
    assert offences(package, floors(PLAN_OF_THE_MODEL)) == []
    assert cycle(arrows(package)) == []


@pytest.mark.parametrize(
    ("file", "text", "offence"),
    [
        (
            "howfar/ops/__init__.py",
            "from howfar.families.part import distance\n",
            "howfar.ops -> howfar.families.part: up, from floor 0 to 2",
        ),
        (
            "howfar/ops/__init__.py",
            "def late():\n    from howfar import families\n",
            "howfar.ops -> howfar.families: up, from floor 0 to 2",
        ),
        (
            "howfar/families/part.py",
            "if TYPE_CHECKING:\n    import howfar.cli\n",
            "howfar.families.part -> howfar.cli: up, from floor 2 to 5",
        ),
        (
            "howfar/families/part.py",
            "from importlib import import_module\nimport_module('howfar.cli')\n",
            "howfar.families.part -> howfar.cli: up, from floor 2 to 5",
        ),
        (
            "howfar/siblings/__init__.py",
            "from ..families import distance\n",
            "howfar.siblings -> howfar.families: sideways on floor 2",
        ),
        (
            "howfar/costs.py",
            "from howfar import ops\n",
            "howfar.costs -> howfar.ops: up, from floor -0.5 to 0",
        ),
        (
            "howfar/families/part.py",
            "from howfar import distance\n",
            "howfar.families.part -> howfar: not a room of the plan",
        ),
        ("howfar/drawer.py", "", "howfar.drawer has no floor"),
    ],
)
def test_the_walk_reports_a_broken_model_house(tmp_path: Path, file: str, text: str, offence: str) -> None:
    assert offences(built(tmp_path, {file: text}), floors(PLAN_OF_THE_MODEL)) == [offence]


def test_the_walk_finds_a_cycle(tmp_path: Path) -> None:
    package = built(tmp_path, {"howfar/_checks.py": "def late():\n    from howfar import costs\n"})
    assert offences(package, floors(PLAN_OF_THE_MODEL)) == []
    assert cycle(arrows(package)) == ["howfar._checks", "howfar.costs", "howfar._checks"]
