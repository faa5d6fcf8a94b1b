"""A call that nobody sees goes past torch's dispatcher: it gives what the operator gives, and whoever looks sees the operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from op_cases import COSTS, KERNELS, clouds, potential
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from howfar import kernels, ops
from howfar.ops import library

Call = Callable[[Tensor, Tensor, Tensor], Any]
OPERATORS: dict[str, Call] = {
    "softmin": lambda x, y, h: ops.softmin(x, y, h, eps=0.3),
    "softmin_apply": lambda x, y, h: ops.softmin_apply(x, y, h, y, eps=0.3),
    "kernel_sum": lambda x, y, h: ops.kernel_sum(x, y, h, kernel="gaussian"),
    "nearest": lambda x, y, h: ops.nearest(x, y, h, k=2),
}
CALLS: dict[str, Call] = {
    **OPERATORS,
    **{f"softmin {c}": lambda x, y, h, c=c: ops.softmin(x, y, h, eps=0.3, cost=COSTS[c][0]) for c in COSTS},
    **{f"kernel_sum {k}": lambda x, y, h, k=k: ops.kernel_sum(x, y, h, kernel=KERNELS[k][0]) for k in KERNELS},
    "kernel_sum of columns": lambda x, y, h: ops.kernel_sum(x, y, torch.stack([h, -h], -1), kernel=kernels.IMQ(2.0)),
    "kernel_sum of a stack": lambda x, y, h: ops.kernel_sum(
        x, y, h, kernel=kernels.Stack([kernels.Gaussian(0.5), kernels.Linear(), kernels.Gaussian(2.0)])
    ),
    "softmin of a gradient's eps": lambda x, y, h: ops.softmin(
        x, y, h, eps=torch.full(x.shape[:-2], 0.3, requires_grad=True)
    ),
    "kernel_sum of a width": lambda x, y, h: ops.kernel_sum(
        x, y, h, kernel=kernels.Gaussian(torch.full(x.shape[:-2], 0.7, dtype=x.dtype))
    ),
    "nearest cosine": lambda x, y, h: ops.nearest(x, y, h, cost="cosine"),
    "reference": lambda x, y, h: ops.softmin(x, y, h, eps=0.3, backend="reference"),
}


def arguments(kind: str) -> tuple[Tensor, Tensor, Tensor]:
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}.get(kind, torch.float64)
    x, y = clouds(9, 7, 3, dtype=dtype)
    h = potential(7, dtype=dtype)
    if kind == "batch":
        return torch.stack([x, -x]), y.expand(2, 7, 3), torch.stack([h, h + 1])
    if kind == "strided":
        return x.T.contiguous().T, y.repeat(1, 2)[:, ::2], h.repeat_interleave(3)[::3]
    if kind == "parameters":
        return torch.nn.Parameter(x), torch.nn.Parameter(y), torch.nn.Parameter(h)
    return x, y, h


@pytest.mark.parametrize("kind", ["float32", "float64", "bfloat16", "batch", "strided", "parameters"])
@pytest.mark.parametrize("call", CALLS)
def test_it_is_the_operator_bit_for_bit(call: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = arguments(kind)
    with torch.no_grad():
        got = CALLS[call](*inputs)
        monkeypatch.setattr(library, "unwatched", lambda _: False)
        expected = CALLS[call](*inputs)
    for one, other in zip(got, expected, strict=True):
        assert torch.equal(one, other)
        assert one.dtype == other.dtype
        assert not one.requires_grad


@pytest.mark.parametrize("name", OPERATORS)
def test_a_mode_sees_the_operator(name: str) -> None:
    class Spy(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.append(str(function))
            return function(*args, **(kwargs or {}))

    seen: list[str] = []
    with Spy():
        OPERATORS[name](*arguments("float32"))
    assert f"howfar.{name}.default" in seen


def test_who_sees_a_call() -> None:
    x = torch.zeros(3, 2)
    leaf = torch.zeros(3, 2, requires_grad=True)
    assert library.unwatched((x, x))
    assert not library.unwatched((x, leaf))
    with torch.no_grad():
        assert library.unwatched((x, leaf))
        assert library.unwatched((torch.nn.Parameter(x),))
    with torch.inference_mode():
        assert library.unwatched((x, torch.zeros(2)))
    assert not library.unwatched((torch.zeros(2, device="meta"),))
    assert not library.unwatched((x.to_sparse(),))
    assert not library.unwatched((torch.zeros(2, dtype=torch.complex64).conj().imag,))
    with torch.device("cpu"):
        assert not library.unwatched((x,))

    class Own(Tensor):
        pass

    assert not library.unwatched((x.as_subclass(Own),))
    levels: list[bool] = []
    torch.func.vmap(lambda row: (levels.append(library.unwatched((row,))), row)[1])(x)
    torch.func.grad(lambda row: (levels.append(library.unwatched((x,))), row.sum())[1])(x)
    with torch.autograd.forward_ad.dual_level():
        levels.append(library.unwatched((x,)))
    assert levels == [False, False, False]
