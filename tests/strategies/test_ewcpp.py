"""EWC++: replay with a penalty, which is tested in plugins/test_ewc.py."""

from __future__ import annotations

from cl_prompts.strategies import EWC
from tests.toy_data import experiences
from tests.toys import fit, make, same, weights


def test_without_a_consolidation_it_is_experience_replay() -> None:
    plain = weights(fit(make("er"), experiences()))
    assert same(plain, weights(fit(make("ewcpp", period=None), experiences())))
    for reg_coef, equal in ((0.0, True), (1e4, False)):
        strategy = make("ewcpp", plugins=[EWC(reg_coef=reg_coef)])
        assert same(plain, weights(fit(strategy, experiences()))) == equal
