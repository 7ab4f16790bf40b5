"""Turns of phrase that pages, package and tests avoid, since readers need a second look at them."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [
    path
    for place in ("cl_prompts", "docs", "tests", "examples", "benchmarks", ".")
    for path in (ROOT.glob("*.md") if place == "." else (ROOT / place).rglob("*"))
    if path.suffix in {".py", ".md", ".yaml", ".html", ".txt", ".ipynb"}
    and path != Path(__file__)
    and path.name != "mutants.txt"
    and "__pycache__" not in str(path)
]
TEXTS = {
    path: re.sub(r"[\s#]+", " ", path.read_text())
    for path in FILES
    if "__pycache__" not in str(path)
}
#: turn -> what to write instead
TURNS = {
    r"(?<![Tt]here )\b(?:is|are) no\b(?! longer)": "is not a ..., does not ..., has no ...",
    r"\b(?:take|takes|taking|took|taken) over\b": "restore, reuse, replace",
    r"\b(?:go|goes|going|went) on\b": "continue, resume",
    r"\bcomes? again\b": "recurs, is restored",
    r"\bwhat (?:is|was) kept\b": "the noun: buffer, cache, checkpoint",
    r"\bin vain\b": "without effect",
    r" as it was when ": "the state at ...",
    r"\bbatch mates?\b": "other samples of the batch",
    r"\bof (?:its|their|one's) own accord\b": "by itself",
    r"\b(?:stands?|stood) still\b": "does not change",
    r"\bat hand\b": "available, current, cached",
}


@pytest.mark.parametrize("turn", TURNS)
def test_no_turn_that_needs_a_second_look(turn: str) -> None:
    found = []
    for path, text in TEXTS.items():
        around = (text[m.start() - 40 : m.end() + 30] for m in re.finditer(turn, text))
        found += [f"{path.relative_to(ROOT)}: {words}" for words in around]
    assert not found, f"write {TURNS[turn]}:\n" + "\n".join(found)
