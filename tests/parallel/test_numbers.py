"""Processes train what one process trains in as many accumulated parts: the same numbers, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mpiexec import parameters, trained

CASES = ["text", "stacked", "ragged", "drawn", "ordered", "padded", "keras"]


def assert_same_parameters(a: dict[str, Any], b: dict[str, Any]) -> None:
    """The same parameters, bit for bit."""
    for name, array in parameters(a).items():
        assert array.tobytes() == b[name].tobytes(), name


@pytest.mark.parametrize("case", CASES)
def test_two_processes_give_the_numbers_of_two_parts(case: str, tmp_path: Path) -> None:
    one, two = trained(tmp_path, 1, case, accumulate=2), trained(tmp_path, 2, case)
    assert_same_parameters(two[0], two[1])
    assert_same_parameters(one[0], two[0])
    if case != "keras":
        np.testing.assert_array_equal(one[0]["history.losses"], two[0]["history.losses"])


@pytest.mark.parametrize("case", CASES)
def test_three_processes_add_up_in_the_order_of_their_ranks(case: str, tmp_path: Path) -> None:
    one, three = trained(tmp_path, 1, case, accumulate=3), trained(tmp_path, 3, case, deterministic=True)
    for result in three:
        assert_same_parameters(one[0], result)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "rmsprop", "adamw"])
def test_every_optimizer(optimizer: str, tmp_path: Path) -> None:
    one = trained(tmp_path, 1, "text", accumulate=2, optimizer=optimizer)
    assert_same_parameters(one[0], trained(tmp_path, 2, "text", optimizer=optimizer)[1])


def test_three_processes_in_any_order_are_close_and_alike(tmp_path: Path) -> None:
    one, three = trained(tmp_path, 1, "wide", accumulate=3), trained(tmp_path, 3, "wide")
    for result in three:
        assert_same_parameters(three[0], result)
    for name, array in parameters(one[0]).items():
        np.testing.assert_allclose(three[0][name], array, atol=1e-5)


def test_processes_that_accumulate(tmp_path: Path) -> None:
    four, two = trained(tmp_path, 1, "text", accumulate=4), trained(tmp_path, 2, "text", accumulate=2)
    assert_same_parameters(two[0], two[1])
    for name, array in parameters(four[0]).items():
        np.testing.assert_allclose(two[0][name], array, atol=1e-5)


def test_a_second_run_draws_the_same_numbers(tmp_path: Path) -> None:
    first, second = (trained(tmp_path, 2, "text") for _ in range(2))
    other = trained(tmp_path, 2, "text", seed=1)
    assert_same_parameters(first[0], second[0])
    assert not np.array_equal(first[0]["head.weight"], other[0]["head.weight"])


def test_a_custom_training_loop(tmp_path: Path) -> None:
    one, three = trained(tmp_path, 1, "loop"), trained(tmp_path, 3, "loop")
    for result in three:
        for name, array in parameters(one[0]).items():
            np.testing.assert_allclose(result[name], array, atol=1e-6)


def test_keras_figures_are_those_of_all_processes(tmp_path: Path) -> None:
    one, three = trained(tmp_path, 1, "keras", accumulate=3), trained(tmp_path, 3, "keras")
    for result in three:
        np.testing.assert_allclose(result["history.losses"], one[0]["history.losses"], rtol=1e-5)


def test_validation_is_shared_out_and_combined(tmp_path: Path) -> None:
    one, three = trained(tmp_path, 1, "validated", accumulate=3), trained(tmp_path, 3, "validated")
    assert len(one[0]["history.validations"]) > 2
    for result in three:
        np.testing.assert_allclose(result["history.validations"], one[0]["history.validations"], rtol=1e-6)


@pytest.mark.parametrize("after", [2, 3, 1])
def test_a_checkpoint_of_two_processes_resumes_on_any_number(after: int, tmp_path: Path) -> None:
    """Step 11 is in the middle of an epoch, where a state is carried, and half of the dropout is drawn."""
    path = str(tmp_path / "run.safetensors")
    whole = trained(tmp_path, 2, "text", epochs=None, steps=17)
    trained(tmp_path, 2, "text", epochs=None, steps=11, checkpoint=path)
    more = {"accumulate": 2} if after == 1 else {}
    resumed = trained(tmp_path, after, "text", epochs=None, steps=17, checkpoint=path, resume=True, **more)
    if after in (1, 2):
        assert_same_parameters(whole[0], resumed[-1])
    else:
        assert resumed[0]["history.step"] == 17
        assert_same_parameters(resumed[0], resumed[2])
        np.testing.assert_array_equal(resumed[0]["history.losses"][:11], whole[0]["history.losses"][:11])
        assert np.isfinite(resumed[0]["history.losses"]).all()
