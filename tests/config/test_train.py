"""The settings of a training run that exclude each other."""

import pytest
from factories import usage_error

from textgen.config.fields import option_name
from textgen.config.train import TrainConfig


@pytest.mark.parametrize(
    "budgets", [{"minutes": 1, "steps": 5}, {"epochs": 1, "steps": 5}, {"minutes": 1, "epochs": 2}]
)
def test_only_one_budget_can_be_given(budgets):
    one, other = (option_name(name) for name in budgets)
    error = usage_error(TrainConfig, **budgets)
    assert {error.subject, error.problem.rpartition(" ")[2]} == {one, other}
    assert "cannot be combined" in error.problem
