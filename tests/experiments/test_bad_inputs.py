"""Bad inputs: one sentence and an exit code for each, as ``docs/bad_inputs.md`` says."""

from __future__ import annotations

from tests.experiments.bad_inputs import PAGE, answers, page


def test_every_bad_input_gets_its_sentence() -> None:
    rows = list(answers())
    assert len(rows) >= 120
    for _, command, code, said in rows:
        assert code in (1, 2), command
        assert said, command
        assert "\n" not in said, command
        assert len(said) < 1000, command
    assert page(rows) == PAGE.read_text()
