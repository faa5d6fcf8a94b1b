"""Coordinates of the drawings, against values worked out by hand."""

from __future__ import annotations

import re
import shlex

import pytest

from howfar.report import charts, numbers, wording


def column(edges, reference, current, medians=(None, None), labels=None):
    return {
        "histogram": {"edges": edges, "labels": labels, "reference": reference, "current": current},
        "reference": {"median": medians[0]},
        "current": {"median": medians[1]},
    }


def test_histogram_of_equal_bins():
    drawn = charts.histogram(column([0.0, 1.0, 2.0, 3.0], [0.5, 0.5, 0.0], [0.0, 0.25, 0.75], (1.5, 9.0)))
    # The tallest bar, 0.75, reaches 296 of 300; a third of the width is 333.
    assert drawn.reference == "M0 300V103H333V103H667V300H1000V300Z"
    assert drawn.current == "M0 300V300H333V201H667V4H1000V300"
    assert drawn.top == "75\N{NARROW NO-BREAK SPACE}%"
    assert drawn.ends == ("0", "3")
    assert drawn.medians == (500, 1000)
    assert drawn.even
    assert drawn.bins[2].text == "2 to 3: reference 0\N{NARROW NO-BREAK SPACE}%, current 75\N{NARROW NO-BREAK SPACE}%"
    assert [(bar.x, bar.width) for bar in drawn.bins] == [(0, 333), (333, 334), (667, 333)]


def test_far_tails_take_one_bar_each():
    drawn = charts.histogram(column([-100.0, 0.0, 1.0, 2.0, 900.0], [0.25] * 4, [0.0, 0.5, 0.5, 0.0], (0.5, -50.0)))
    assert [(bar.x, bar.width) for bar in drawn.bins] == [(0, 250), (250, 250), (500, 250), (750, 250)]
    assert not drawn.even
    assert drawn.ends == ("−100", "900")
    assert drawn.medians == (375, 125)


@pytest.mark.parametrize(
    ("edges", "median", "place"),
    [
        (["2024-01-01", "2024-01-11", "2024-01-21"], "2024-01-16", 750),
        (["2024-01-01", "2024-01-01T12:00:00", "2024-01-02"], "2024-01-01T06:00:00", 250),
        (["08:00:00", "10:00:00", "12:00:00"], "09:30:00", 375),
        (["-2 seconds", "0 seconds", "2 seconds"], "1.5 seconds", 875),
        (["early", "later", "late"], "later", None),
    ],
)
def test_moments_stand_where_the_clock_and_the_calendar_put_them(edges, median, place):
    drawn = charts.histogram(column(edges, [1.0, 0.0], [0.0, 1.0], (median, None)))
    assert drawn.medians == (place, None)
    assert drawn.even == (place is not None)
    assert [bar.width for bar in drawn.bins] == [500, 500]
    assert drawn.ends == (edges[0], edges[-1])


def test_bins_of_whole_numbers_bear_their_number():
    drawn = charts.histogram(column([-0.5, 0.5, 1.5, 2.5], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], (0.0, 1.0)))
    assert [bar.text.split(":")[0] for bar in drawn.bins] == ["0", "1", "2"]
    assert drawn.ends == ("0", "2")
    assert drawn.medians == (167, 500)


def test_no_histogram_without_edges():
    assert charts.histogram(column(None, [1.0], [1.0], labels=["a"])) is None
    assert charts.histogram({"histogram": None}) is None


def dots(cloud, side):
    return sum(pair[side].count("M") for pair in cloud.layers)


def test_cloud_draws_every_point_once_on_one_scale():
    reference = [[float(i), 0.0] for i in range(11)]
    current = [[5.0, float(i)] for i in range(7)]
    cloud = charts.cloud(reference, current)
    assert (dots(cloud, 0), dots(cloud, 1), cloud.outside) == (11, 7, 0)
    places = {tuple(map(int, m)) for pair in cloud.layers for m in re.findall(r"M(\d+) (\d+)", pair[0])}
    # Ten units and a margin of 4 % on either side; height grows upwards, coordinates downwards.
    assert (round(1000 * 0.04 / 1.08), 1000 - round(1000 * 0.04 / 1.08)) in places
    assert (round(1000 * 1.04 / 1.08), 1000 - round(1000 * 0.04 / 1.08)) in places


def test_cloud_counts_points_far_outside_instead_of_squeezing_the_rest():
    reference = [[i / 1000, i % 7] for i in range(1000)] + [[1e6, 3.0]]
    cloud = charts.cloud(reference, [[0.5, 1.0]])
    assert cloud.outside == 1
    assert dots(cloud, 0) == 1000


@pytest.mark.parametrize("points", [[[1.0, 2.0]], [[3.0, 3.0]] * 5])
def test_cloud_of_one_place(points):
    cloud = charts.cloud(points, [])
    assert dots(cloud, 0) == len(points)
    assert cloud.layers[0][0].startswith("M500 500h")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "—"),
        (0, "0"),
        (0.0, "0"),
        (True, "True"),
        (1234567, "1 234 567"),
        (-1234567, "−1 234 567"),
        (3.14159, "3.142"),
        (-0.00123456, "−0.001235"),
        (123456.7, "123 457"),
        (9999.0, "9999"),
        (5000, "5000"),
        (2.5e8, "2.5e+08"),
        (1.5e-7, "1.5e−07"),
        (6.02e23, "6.02e+23"),
        ("text-1", "text-1"),
    ],
)
def test_numbers(value, text):
    assert wording.number(value) == text.replace(" ", "\N{NARROW NO-BREAK SPACE}")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "—"),
        (0.0, "0 %"),
        (1.0, "100 %"),
        (0.5, "50 %"),
        (0.1234, "12.3 %"),
        (1e-5, "< 0.1 %"),
        (1 - 1e-16, "100 %"),
        (0.29, "29 %"),
        (0.99999, "> 99.9 %"),
    ],
)
def test_shares(value, text):
    assert wording.share(value) == text.replace(" ", "\N{NARROW NO-BREAK SPACE}")


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "—"), (1.0, "1"), (0.62, "0.62"), (0.05, "0.05"), (0.001, "0.001"), (0.00012345, "0.00012")],
)
def test_p_values(value, text):
    assert wording.p_value(value) == text


@pytest.mark.parametrize("name", ["number", "share", "p_value"])
@pytest.mark.parametrize("value", [0.0, 1.0, 0.29, 0.0123, 0.00012345, 0.0996, 0.99999, 1 - 1e-16, 1e-9, 0.05])
def test_the_page_says_what_the_terminal_says(name, value):
    """One rule for digits; the page adds signs that a terminal may not have."""
    on_page = getattr(wording, name)(value)
    ascii_only = on_page.replace("\N{NARROW NO-BREAK SPACE}", " ").replace("\N{MINUS SIGN}", "-").replace("< ", "<")
    assert ascii_only.replace("> ", ">") == getattr(numbers, name)(value)


def test_long_names_keep_both_ends_and_blank_ones_are_seen():
    short = wording.name("a" * 500 + "z")
    assert len(short) < 200
    assert (short[0], short[-1]) == ("a", "z")
    assert wording.name(" \t") == "(blank)"


def test_names_break_after_their_joints_and_stay_escaped():
    assert wording.breakable("od280/of_<b>") == "od280/<wbr>of_&lt;b&gt;"


def test_command_survives_the_shell():
    settings = {"alpha": 0.01, "tolerance": 0.2, "columns": ["a b", "$(rm)"]}
    text = wording.repeat("my file.csv", "'; echo 1.csv", settings)
    assert shlex.split(text) == [
        *["howfar", "compare", "my file.csv", "'; echo 1.csv", "--alpha", "0.01", "--tolerance", "0.2"],
        *["--columns", "a b,$(rm)"],
    ]


def test_tables_in_memory_are_compared_again_by_a_call():
    settings = {"alpha": 0.05, "n_permutations": 999, "seed": 3, "tolerance": None, "max_rows": 500, "columns": ["a'"]}
    assert wording.repeat("reference", "current", settings) == (
        """howfar.compare(reference, current, columns=["a'"], alpha=0.05, n_permutations=999, max_rows=500, """
        "generator=torch.Generator().manual_seed(3))"
    )
