"""Values of distributions at given places, their forms, and the mistakes in them."""

import math

import pytest

from vision_suite.errors import ConfigError
from vision_suite.sweeps.parameters import read_parameters
from vision_suite.sweeps.space import DISTRIBUTIONS, key_of


def one(**given):
    (parameter,) = read_parameters({"x": given})
    return parameter


def bounds(word, low, high, **more):
    return {"distribution": word, "min": low, "max": high, **more}


# Values at .1, .5 and .9, as W&B's engine gives them.
TABLE = [
    ({"min": 0, "max": 2.0}, (0.2, 1.0, 1.8)),
    ({"min": 1, "max": 10}, (1, 5, 9)),
    (bounds("q_uniform", 0, 10, q=3), (0, 6, 9)),
    (bounds("log_uniform_values", 1e-5, 1e-1), (2.51189e-5, 1e-3, 0.0398107)),
    (bounds("q_log_uniform_values", 1, 1000, q=10), (0, 30, 500)),
    (bounds("inv_log_uniform_values", 1e-3, 1), (0.00199526, 0.0316228, 0.501187)),
    ({"distribution": "normal", "mu": 1, "sigma": 2}, (-1.56310, 1, 3.56310)),
    ({"distribution": "q_normal", "mu": 1, "sigma": 2, "q": 0.5}, (-1.5, 1, 3.5)),
    ({"distribution": "log_normal"}, (0.277606, 1, 3.60222)),
    ({"distribution": "q_log_normal", "q": 0.5}, (0.5, 1, 3.5)),
    ({"distribution": "beta", "a": 2, "b": 5}, (0.0925953, 0.264450, 0.510316)),
    ({"distribution": "q_beta", "a": 2, "b": 5, "q": 0.1}, (0.1, 0.3, 0.5)),
]


@pytest.mark.parametrize(("given", "expected"), TABLE, ids=lambda value: str(value)[:40])
def test_values_at_three_places(given, expected):
    found = [one(**given).at(x) for x in (0.1, 0.5, 0.9)]
    assert found == pytest.approx(expected, rel=5e-6)
    assert all(type(value) in (int, float) for value in found), "plain Python numbers"


def test_every_distribution_is_in_the_table():
    listed = {given.get("distribution") for given, _ in TABLE} | {"uniform", "int_uniform"}
    assert listed | {"categorical", "categorical_w_probabilities", "constant"} == set(DISTRIBUTIONS) | {None}


def test_listed_values():
    assert [one(values=["a", "b", "c"]).at(x) for x in (0.1, 0.5, 0.9)] == ["a", "b", "c"]
    shares = one(values=["a", "b", "c"], probabilities=[0.2, 0.5, 0.3])
    assert [shares.at(x) for x in (0.1, 0.5, 0.9)] == ["a", "b", "c"]
    assert shares.at(0.2) == "b", "the first index whose running sum exceeds x"
    assert [shares.at(x) for x in (0.0, 1.0)] == ["a", "c"]
    assert one(value={"a": None}).at(0.3) == {"a": None}


def test_quantised_values_are_not_clipped_and_round_half_to_even():
    assert one(**bounds("q_uniform", 0.1, 1, q=0.25)).at(0.0) == 0.0
    assert [one(**bounds("q_uniform", 0, 10, q=2)).at(x) for x in (0.1, 0.3, 0.5)] == [0, 4, 4]
    assert isinstance(one(**bounds("q_uniform", 0.0, 10.0, q=2)).at(0.4), int), "whole where q is"


def test_whole_numbers_include_both_ends_at_every_place():
    parameter = one(min=-3, max=6)
    assert {parameter.at(index / 1000) for index in range(1001)} == set(range(-3, 7))
    # Products such as .7 x 10 are rounded up over a whole number.
    assert [one(min=0, max=9).at(k / 10) for k in range(1, 11)] == list(range(10))


@pytest.mark.parametrize(("given", "word"), [
    ({"values": [1]}, "categorical"),
    ({"values": [1], "probabilities": [1.0]}, "categorical_w_probabilities"),
    ({"min": 1, "max": 5}, "int_uniform"),
    ({"min": 1, "max": 5.0}, "uniform"),
    ({"min": 10.0, "max": 20.0}, "uniform"),
    ({"min": 1, "max": 5, "distribution": "uniform"}, "uniform"),
    ({"value": None}, "constant"),
])  # fmt: skip
def test_the_form_is_found(given, word):
    assert one(**given).distribution == word


@pytest.mark.parametrize(("given", "message"), [
    ({"valuess": [1]}, "unknown key 'valuess': did you mean 'values'"),
    ({"values": []}, "give a list"),
    ({"values": 3}, "give a list"),
    ({"min": 2, "max": 2}, "min 2 is not less than max 2"),
    ({"min": 3.0, "max": 2}, "is not less than"),
    ({"min": "0.1", "max": 1}, "min='0.1': expected a number"),
    ({"min": True, "max": 3}, "expected a number"),
    ({"min": 1}, "no values are told"),
    ({}, "no values are told"),
    ({"values": [1, 2], "probabilities": [0.5]}, "1 probabilities for 2 values"),
    ({"values": [1, 2], "probabilities": [0.5, 0.6]}, "sum to 1.1"),
    ({"values": [1, 2], "probabilities": [1.5, -0.5]}, "at least 0"),
    (bounds("log_uniform", -3, 1), "use log_uniform_values"),
    (bounds("inv_log_uniform", -3, 1), "use inv_log_uniform_values"),
    (bounds("q_log_uniform", -3, 1), "use q_log_uniform_values"),
    (bounds("log_uniform_values", 0, 1), "bounds above 0"),
    (bounds("log_unifrom_values", 1, 2), "did you mean 'log_uniform_values'"),
    (bounds("int_uniform", 1, 10.0), "int_uniform takes whole numbers"),
    (bounds("q_uniform", 1, 10, q=0), "q=0 must be above 0"),
    ({"distribution": "normal", "sigma": -1}, "sigma=-1 must be at least 0"),
    ({"distribution": "normal", "min": 1}, "normal takes no 'min'"),
    ({"distribution": "uniform", "min": 1}, "uniform needs max"),
    ({"distribution": ["a"], "min": 0, "max": 1}, "distribution=['a']: expected the name of one"),
    ({"min": 0, "max": 10**400}, "expected a number from -1e300 to 1e300"),
    ({"min": -1e308, "max": 1.5e308}, "expected a number from -1e300 to 1e300"),
    ({"min": 0.0, "max": math.nan}, "expected a number from"),
    ({"values": [1, 10**400]}, "is beyond 1e300"),
    ({"value": -(10**400)}, "is beyond 1e300"),
    ({"distribution": "log_normal", "sigma": 1000}, "log_normal with mu 0.0, sigma 1000 has draws that are not finite"),
    ({"distribution": "q_normal", "q": 1e-320}, "not finite"),
    (bounds("q_uniform", 0, 1, q=5e-324), "not finite"),
    ({"distribution": "beta", "a": 0, "b": 0}, "not finite"),
    ({"distribution": "q_beta", "a": 0, "b": 0, "q": 0.1}, "not finite"),
])  # fmt: skip
def test_mistakes_are_told_in_one_line(given, message):
    with pytest.raises(ConfigError) as caught:
        one(**given)
    text = str(caught.value)
    assert message in text
    assert "\n" not in text
    assert text.startswith("parameters.x")


@pytest.mark.parametrize("name", ["1a", "a b", "", "-a"])
def test_names(name):
    with pytest.raises(ConfigError, match="is no name"):
        list(read_parameters({name: {"value": 1}}))


def test_nested_parameters_are_sorted_at_each_level():
    given = {"b": {"value": 1}, "a": {"parameters": {"z": {"value": 1}, "c": {"value": 2}}}}
    assert [each.name for each in read_parameters(given)] == ["a.c", "a.z", "b"]


def test_whole_floats_equal_integers_and_nothing_else_is_equal():
    assert len({key_of(value) for value in [1, 1.0, True, "1"]}) == 3
    assert len({key_of(value) for value in [None, "None", False, 0, 0.5, [0], [0.5]]}) == 7


@pytest.mark.parametrize(("word", "logarithmic"), [
    ("uniform", False), ("q_uniform", False), ("log_uniform_values", True), ("q_log_uniform_values", True),
    ("inv_log_uniform_values", True),
])  # fmt: skip
def test_logarithmic_distributions(word, logarithmic):
    assert one(min=1.0, max=9.0, distribution=word).is_logarithmic is logarithmic
    assert one(distribution="log_normal").is_logarithmic


@pytest.mark.parametrize(("given", "expected"), [
    ({"values": [3, 1]}, [3, 1]),
    ({"value": "a"}, ["a"]),
    ({"min": 1, "max": 4}, [1, 2, 3, 4]),
    (bounds("q_uniform", 0, 10, q=3), [0, 3, 6, 9]),
    (bounds("q_uniform", 0, 9, q=3), [0, 3, 6]),
])  # fmt: skip
def test_values_of_a_grid(given, expected):
    assert one(**given).grid() == expected
    assert one(**given).count() == len(expected)


@pytest.mark.parametrize("given", [
    {"min": 0, "max": 10**12}, bounds("q_uniform", 0, 1, q=1e-12), bounds("q_uniform", -1e300, 1e300, q=1e-7),
])  # fmt: skip
def test_a_large_grid_is_counted_without_being_listed(given):
    assert one(**given).count() > 10**11


def test_a_continuous_distribution_has_no_grid():
    with pytest.raises(ConfigError, match="not normal"):
        one(distribution="normal").grid()


def test_places_of_a_check():
    assert one(min=0.0, max=1.0).places() == [0.0, 0.1, 0.5, 0.9, 1.0]
    assert one(distribution="normal").places() == [0.1, 0.5, 0.9]
    listed = one(values=list("abcdefg"))
    assert [listed.at(x) for x in listed.places()] == list("abcdefg")
    shares = one(values=["a", "b", "c"], probabilities=[0.5, 0.0, 0.5])
    assert [shares.at(x) for x in shares.places()] == ["a", "c"], "what is never drawn is not checked"
    assert all(math.isfinite(one(distribution=word).at(x)) for word in ("normal", "log_normal", "beta") for x in (0, 1))
