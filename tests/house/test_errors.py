"""Bad calls and the exact sentence that each gets: the argument, what was expected, what came, the fix.

The table is `bad_calls.txt`: a call, and below it the error and its text. A new check adds its line there.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import howfar
from howfar import adversarial, costs, kernels, nn, ops

TABLE = (Path(__file__).parent / "bad_calls.txt").read_text(encoding="utf-8")

X = torch.arange(8.0).reshape(4, 2)
NOT_A_NUMBER = float("nan")
NAMES = {
    "adversarial": adversarial,
    "costs": costs,
    "howfar": howfar,
    "kernels": kernels,
    "nn": nn,
    "np": np,
    "ops": ops,
    "torch": torch,
    "X": X,
    "Y": X[:3] + 1,
    "P": torch.tensor([0.5, 0.5]),
    "Q": torch.tensor([0.9, 0.1]),
    "NOT_A_NUMBER": NOT_A_NUMBER,
    "NAN": torch.cat([X[:2], torch.tensor([[4.0, NOT_A_NUMBER]]), X[3:]]),
    "INFINITE": torch.tensor([[-torch.inf, 2.0], [3.0, 4.0], [5.0, 6.0]]),
    "CRITIC": torch.nn.Linear(2, 1),
}


def read(table: str) -> list[tuple[str, str, str]]:
    """(call, name of the error, its text) for each entry."""
    lines = [line for line in table.splitlines() if line and not line.startswith("#")]
    entries = zip(lines[::2], lines[1::2], strict=True)
    return [(call, *sentence.strip().split(": ", 1)) for call, sentence in entries]  # type: ignore[misc]


CALLS = read(TABLE)


@pytest.mark.parametrize(("call", "error", "sentence"), CALLS, ids=[call for call, _, _ in CALLS])
def test_a_bad_call_gets_its_sentence(call: str, error: str, sentence: str) -> None:
    with pytest.raises(howfar.HowfarError) as caught:
        eval(call, dict(NAMES))
    assert f"{type(caught.value).__name__}: {caught.value}" == f"{error}: {sentence}"


def test_a_sentence_names_argument_expectation_what_came_and_fix() -> None:
    form = re.compile(r"[\w ]+: (expected .+?, got .+|.+)\. \S.*[.?]", re.DOTALL)
    assert [sentence for _, _, sentence in CALLS if not form.fullmatch(sentence)] == []


def test_the_table_is_whole() -> None:
    assert len(CALLS) == len({call for call, _, _ in CALLS}) >= 190
    kinds = {getattr(howfar, error) for _, error, _ in CALLS}
    assert kinds == {
        howfar.BackendUnavailable,
        howfar.DerivativeUnavailable,
        howfar.DomainError,
        howfar.ShapeError,
        howfar.UnknownName,
    }
    assert all(issubclass(kind, howfar.HowfarError) and issubclass(kind, ValueError) for kind in kinds)
