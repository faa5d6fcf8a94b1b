"""Compiles kernels for cards that need not be there, and prints what each variant takes: one JSON line for each.

    python compile_kernels.py 80,90 [a part of the name of a call]

The interpreter runs Python, not the compiler: this is what sees a shape or a type that the compiler refuses, and a
variant whose registers spill.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends import nvidia
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from howfar import costs, kernels
from howfar.ops import triton_tiles
from howfar.ops.kernel_summation import triton as kernel_summation
from howfar.ops.nearest_neighbors import triton as nearest_neighbors
from howfar.ops.soft_minimum import triton as soft_minimum

TYPES = {torch.float32: "*fp32", torch.float64: "*fp64", torch.int32: "*i32"}
Launch = tuple[Any, tuple[Any, ...], dict[str, Any]]
launches: list[Launch] = []


def record(kernel: Any, grid: tuple[int, ...], args: tuple[Any, ...], meta: dict[str, Any]) -> None:  # noqa: ARG001
    launches.append((kernel, args, meta))


def of_points(d: int, dtype: torch.dtype) -> dict[str, Callable[[], object]]:
    """The ops on d features, with few columns of values and with many."""
    x, w, out = (torch.zeros(256, columns, dtype=dtype) for columns in (d, 40, 41))
    h, eps, cost, kernel = x[:, 0], torch.ones((), dtype=dtype), costs.SqEuclidean(), kernels.Gaussian(1.0)
    return {
        "softmin": lambda: soft_minimum.softmin(x, x, h, eps, cost),
        "softmin_apply": lambda: soft_minimum.softmin_apply(x, x, h, w, eps, cost),
        "softmin_gradient": lambda: soft_minimum.gradient((True,) * 3, h, (x, x, h), (h,), eps, cost),
        "softmin_apply_gradient": lambda: soft_minimum.gradient_apply(
            (True,) * 4, out, (x, x, h, w), (out,), eps, cost
        ),
        "kernel_sum": lambda: kernel_summation.kernel_sum(x, x, w, kernel),
        "nearest": lambda: nearest_neighbors.nearest(x, x, h, 1, cost),
        "nearest, k = 16": lambda: nearest_neighbors.nearest(x, x, h, 16, cost),
    }


def of_summand(summand: kernels.Kernel | costs.Cost) -> dict[str, Callable[[], object]]:
    """A kernel sum and its gradient."""
    x, w = torch.zeros(64, 20), torch.zeros(64, 1)
    return {
        f"kernel_sum, {summand.name}": lambda: kernel_summation.kernel_sum(x, x, w, summand),
        f"kernel_sum_gradient, {summand.name}": lambda: kernel_summation.gradient((True,) * 3, w, (x, x, w), summand),
    }


def of_precision(precision: str) -> dict[str, Callable[[], object]]:
    """A soft minimum whose products are formed in a certain way."""
    x, eps, cost = torch.zeros(64, 20), torch.ones(()), costs.SqEuclidean()
    return {f"softmin, {precision}": lambda: soft_minimum.softmin(x, x, x[:, 0], eps, cost, precision=precision)}


def calls() -> dict[str, Callable[[], object]]:
    """Calls whose launches are compiled: few and many features, float64, every profile and base once."""
    found = {}
    for d, dtype in ((3, torch.float32), (64, torch.float32), (256, torch.float32), (3, torch.float64)):
        found |= {f"{str(dtype)[6:]}, d = {d}, {name}": call for name, call in of_points(d, dtype).items()}
    for summand in (
        *(kernels.Laplacian(1.0), kernels.IMQ(1.0), kernels.RationalQuadratic(1.0, 0.7), kernels.Energy()),
        *(kernels.Polynomial(3), costs.CityBlock(), costs.Minkowski(3), costs.Power(costs.Euclidean(), 3)),
    ):
        found |= of_summand(summand)
    for precision in triton_tiles.PRECISIONS:
        found |= of_precision(precision)
    return found


def compiled(kernel: Any, args: tuple[Any, ...], meta: dict[str, Any], capability: int) -> Any:
    """The kernel for these arguments, specialised as a launch specialises it."""
    options = {"num_warps": meta["num_warps"], "enable_fp_fusion": True}
    constants = {name: value for name, value in meta.items() if name != "num_warps"}
    signature, attributes = dict.fromkeys(constants, "constexpr"), {}
    for place, (name, value) in enumerate(zip(kernel.arg_names, args, strict=False)):
        if isinstance(value, torch.Tensor):
            signature[name] = TYPES[value.dtype]
        elif value == 1:
            signature[name], constants[name] = "constexpr", 1
        else:
            signature[name] = "i32" if abs(value) < 2**31 else "i64"
        if isinstance(value, torch.Tensor) or value % 16 == 0:
            attributes[(place,)] = [["tt.divisibility", 16]]
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=attributes)
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


def resources(cubin: bytes) -> dict[str, int]:
    """Registers of a thread, and its bytes of stack: what spilled."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        tool = Path(nvidia.__file__).parent / "bin" / "cuobjdump"
        text = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", text)
    assert found is not None, text
    return {"registers": int(found[1]), "stack": int(found[2])}


def main() -> None:
    triton_tiles.launch = record
    triton_tiles.processors = lambda _: 132
    seen = set()
    capabilities, wanted = [int(number) for number in sys.argv[1].split(",")], "".join(sys.argv[2:])
    for name, call in calls().items():
        if wanted not in name:
            continue
        launches.clear()
        call()
        for kernel, args, meta in launches:
            for capability in capabilities:
                result = compiled(kernel, args, meta, capability)
                if (result.hash, capability) in seen:
                    continue
                seen.add((result.hash, capability))
                line = {
                    "call": name,
                    "kernel": kernel.__name__,
                    "product": meta.get("PRODUCT"),
                    "capability": capability,
                }
                usage = resources(result.asm["cubin"])
                sys.stdout.write(json.dumps(line | usage | {"shared": result.metadata.shared}) + "\n")


if __name__ == "__main__":
    main()
