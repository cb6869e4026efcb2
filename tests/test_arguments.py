import numpy as np
import pytest

from gradnotes.arguments import check_number, check_whole, make_generator


def test_a_generator_is_returned_as_it_is_and_a_seed_starts_anew():
    generator = np.random.default_rng(4)
    assert make_generator(generator) is generator
    draws = [make_generator(seed).uniform() for seed in (4, np.int64(4), 5)]
    assert draws[0] == draws[1] == np.random.default_rng(4).uniform()
    assert draws[2] != draws[0]


@pytest.mark.parametrize("rng", [None, True, 1.0, "1", np.random.RandomState(1)])
def test_what_is_no_seed_is_refused_by_the_callers_name(rng):
    with pytest.raises(TypeError, match=r"fit needs rng=\.\.\., an integer seed .* try rng=0"):
        make_generator(rng, "fit")


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match="fit needs a seed of 0 or more, and got rng=-1"):
        make_generator(-1, "fit")


@pytest.mark.parametrize("number", [2, 7, np.int32(2)])
def test_whole_numbers_from_the_least_on_pass(number):
    check_whole("seeds", number, 2)


@pytest.mark.parametrize("number", [1, 2.0, True, "2", None, float("nan")])
def test_what_is_no_such_whole_number_is_refused(number):
    with pytest.raises(ValueError, match="expected seeds as an integer of 2 or more, and got"):
        check_whole("seeds", number, 2)


@pytest.mark.parametrize("number", [0, 0.5, 3, np.float64(2)])
def test_finite_numbers_from_0_on_pass(number):
    check_number("rate", number)


@pytest.mark.parametrize("above", [False, True])
@pytest.mark.parametrize("number", [-1, float("inf"), float("nan"), True, "1", None, 1j])
def test_what_is_no_such_number_is_refused(number, above):
    wanted = "above 0" if above else "of 0 or more"
    with pytest.raises(ValueError, match=f"expected rate as a finite number {wanted}, and got"):
        check_number("rate", number, above)


def test_zero_is_not_above_zero():
    with pytest.raises(ValueError, match="above 0, and got 0"):
        check_number("rate", 0, above=True)
