"""The laws of a distance between point clouds, for every row of the catalogue."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close

import howfar
from howfar import catalog


def weights_like(points, draw):
    raw = draw(*points.shape[:-1]).abs() + 0.1
    return raw / raw.sum(-1, keepdim=True)


def test_positive_between_different_clouds(case, draw):
    assert case(draw(6, 3), draw(5, 3) + 2) > 0.1


@pytest.mark.law(lambda row: row.zero_on_equal)
def test_zero_between_equal_clouds(case, draw):
    x = draw(6, 3)
    assert_close(case(x, x.clone()), x.new_zeros(()), atol=1e-10, rtol=0)


@pytest.mark.law(lambda row: row.nonnegative)
def test_never_negative(case, draw):
    for shift in (0.0, 1e-6, 1e-3, 1.0):
        x = draw(6, 3)
        assert case(x, x + shift) >= -1e-12


def test_symmetric(case, draw):
    assert case.row.symmetric
    x, y = draw(6, 3), draw(5, 3) + 1
    assert_close(case(x, y), case(y, x), atol=1e-10, rtol=1e-8)


def test_the_order_of_points_does_not_matter(case, draw):
    x, y = draw(6, 3), draw(5, 3) + 1
    assert_close(case(x[torch.randperm(6)], y[torch.randperm(5)]), case(x, y), atol=1e-10, rtol=1e-8)


@pytest.mark.law(lambda row: row.weighted)
def test_a_repeated_point_is_a_point_of_twice_the_weight(case, draw):
    x, y = draw(4, 3), draw(5, 3) + 1
    repeated = torch.cat([x, x[:2]])
    a = torch.tensor([2, 2, 1, 1], dtype=x.dtype) / 6
    assert_close(case(x, y, a=a), case(repeated, y), atol=1e-9, rtol=1e-8)


@pytest.mark.law(lambda row: row.weighted)
def test_a_point_of_no_weight_does_not_exist(case, draw):
    x, y = draw(5, 3), draw(5, 3) + 1
    a = torch.tensor([0.25, 0, 0.25, 0.5, 0], dtype=x.dtype)
    far = x.clone()
    far[1], far[4] = 50.0, -50.0
    assert_close(case(far, y, a=a), case(x[[0, 2, 3]], y, a=a[[0, 2, 3]]), atol=1e-9, rtol=1e-8)


def test_a_batch_equals_the_loop(case, draw):
    x, y = draw(2, 3, 6, 2), draw(2, 3, 5, 2) + 1
    weights = {}
    if case.row.weighted:
        weights = {"a": weights_like(x, draw), "b": weights_like(y, draw)}
    together = case(x, y, **weights)
    assert together.shape == (2, 3)
    for i in range(2):
        for j in range(3):
            alone = case(x[i, j], y[i, j], **{k: w[i, j] for k, w in weights.items()})
            assert_close(together[i, j], alone, atol=1e-9, rtol=1e-8)


def test_batch_axes_broadcast(case, draw):
    x, y = draw(6, 2), draw(3, 5, 2) + 1
    assert_close(case(x, y), case(x.expand(3, 6, 2), y), atol=1e-9, rtol=1e-8)


@pytest.mark.law(lambda row: row.translation_invariant)
def test_moving_both_clouds_changes_nothing(case, draw):
    x, y = draw(6, 3), draw(5, 3) + 1
    assert_close(case(x + 100, y + 100), case(x, y), atol=1e-9, rtol=1e-7)


@pytest.mark.law(lambda row: row.degree is not None)
def test_scaling_both_clouds_scales_by_the_degree(case, draw):
    x, y = draw(6, 3), draw(5, 3) + 1
    scaled = {"eps": 9 * case.options["eps"]} if "eps" in case.options else {}
    assert_close(case(3 * x, 3 * y, **scaled), 3**case.row.degree * case(x, y), atol=1e-9, rtol=1e-7)


@pytest.mark.parametrize("d", [3, 20])
def test_float32_survives_an_offset_of_ten_thousand(case, draw, d):
    case = case.loosened()
    x, y = draw(40, d), draw(30, d) + 1
    shifted = [(t.float() + 1e4) for t in (x, y)]
    truth = case(*(t.double() for t in shifted))
    assert_close(case(*shifted).double(), truth, atol=1e-5, rtol=1e-3)


@pytest.mark.law(lambda row: row.degree is not None and "eps" not in row.defaults)
@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_float32_survives_scales(case, draw, scale):
    x, y = draw(40, 3).float() * scale, draw(30, 3).float() * scale + scale
    value = case(x, y).double()
    assert_close(value, case(x.double(), y.double()), atol=0, rtol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_and_device_are_kept(case, draw, dtype):
    value = case.loosened()(draw(6, 2).to(dtype), draw(5, 2).to(dtype))
    assert value.dtype is dtype
    assert value.device.type == "cpu"
    assert value.shape == ()


def test_integers_numpy_and_the_line_are_taken(case):
    x, y = torch.tensor([1, 2, 4, 7]), torch.tensor([2, 3, 9])
    expected = case.loosened()(x.float().unsqueeze(-1), y.float().unsqueeze(-1))
    assert_close(case.loosened()(x, y), expected)
    assert_close(case.loosened()(x.float().numpy(), y.float().numpy()), expected)


def test_gradients_are_the_differences(case, draw):
    x, y = draw(4, 2).requires_grad_(), (draw(3, 2) + 1).requires_grad_()
    assert gradcheck(case.fixed(), (x, y), atol=1e-5, rtol=1e-4)


@pytest.mark.law(lambda row: row.weighted)
def test_gradients_in_weights_are_the_differences(case, draw):
    x, y = draw(4, 2), draw(3, 2) + 1
    logits = draw(4).requires_grad_(), draw(3).requires_grad_()

    def value(left, right):
        return case(x, y, a=left.softmax(-1), b=right.softmax(-1))

    assert gradcheck(value, logits, atol=1e-5, rtol=1e-4)


def test_second_derivatives_are_right_or_refused(case, draw):
    x, y = draw(4, 2).requires_grad_(), (draw(3, 2) + 1).requires_grad_()
    if case.row.second_order:
        assert gradgradcheck(case.fixed(), (x, y), atol=1e-5, rtol=1e-4)
        return
    (gradient,) = torch.autograd.grad(case(x, y), x, create_graph=True)
    with pytest.raises(howfar.DerivativeUnavailable, match="second derivatives are not available"):
        gradient.sum().backward()


@pytest.mark.parametrize("equal", [True, False])
def test_gradients_are_finite_at_coincident_points(case, draw, equal):
    x = draw(4, 2)
    y = x.clone() if equal else torch.cat([x[:2], draw(2, 2)])
    x.requires_grad_(), y.requires_grad_()
    case(x, y).backward()
    assert torch.isfinite(x.grad).all()
    assert torch.isfinite(y.grad).all()


def test_single_points(case):
    x, y = torch.zeros(1, 2, dtype=torch.float64), torch.ones(1, 2, dtype=torch.float64)
    if case.row.name == "mmd2":
        with pytest.raises(howfar.ShapeError, match="at least 2"):
            case(x, y)
        return
    x.requires_grad_()
    value = case(x, y)
    value.backward()
    assert value > 0
    assert torch.isfinite(x.grad).all()
    if case.row.zero_on_equal:
        assert_close(case(x, x.detach()), torch.zeros_like(value), atol=1e-12, rtol=0)


def test_a_constant_feature_does_no_harm(case, draw):
    x, y = draw(6, 3), draw(5, 3) + 1
    x[:, 1], y[:, 1] = 4.0, 4.0
    x.requires_grad_()
    value = case(x, y)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(x.grad).all()


def test_inputs_are_left_alone(case, draw):
    x, y = draw(6, 2), draw(5, 2)
    kept = x.clone(), y.clone()
    case(x, y)
    assert_close(x, kept[0], atol=0, rtol=0)
    assert_close(y, kept[1], atol=0, rtol=0)


@pytest.mark.law(lambda row: row.weighted)
def test_measures_carry_their_weights(case, draw):
    x, y = draw(4, 2), draw(5, 2) + 1
    a = weights_like(x, draw)
    assert_close(case(howfar.Measure.of(x, a), y), case(x, y, a=a), atol=0, rtol=0)


@pytest.mark.parametrize("bad", [torch.zeros(0, 2), torch.full((3, 2), torch.nan), torch.full((3, 2), torch.inf)])
def test_what_is_no_cloud_is_refused(case, bad):
    with pytest.raises(howfar.HowfarError, match=r"^x: expected"):
        case.loosened()(bad, torch.ones(4, 2))


@pytest.mark.law(lambda row: row.inputs == catalog.POINTS)
def test_another_dimension_is_refused(case):
    with pytest.raises(howfar.ShapeError, match=r"^y: expected shape \(\.\.\., m, 3\)"):
        case.loosened()(torch.ones(4, 3), torch.ones(4, 2))
