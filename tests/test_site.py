"""Parts of the site: formulas as mathematics, and every public name."""

import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs"))

from site_parts import formula, public_names, with_formulas  # noqa: E402


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("w_i = 1 - alpha", "<msub><mi>w</mi><mi>i</mi></msub><mo>=</mo><mn>1</mn>"),
        ("e_i^gamma", "<msubsup><mi>e</mi><mi>i</mi><mi>γ</mi></msubsup>"),
        ("(G + ridge I)^-1", "<mrow><mo>−</mo><mn>1</mn></mrow></msup>"),
        ("mu_c", "<msub><mi>μ</mi><mi>c</mi></msub>"),
        ("argmin_p d[i,p] (n_p + 1)", '<mi mathvariant="normal">argmin</mi><mi>p</mi>'),
        ("mean exp(a)", '</mi><mspace width="0.17em"/><mi mathvariant="normal">exp'),
        ("a < b & c", "<mo>&lt;</mo><mi>b</mi><mo>&amp;</mo>"),
    ],
)
def test_a_formula_is_mathematics(text: str, found: str) -> None:
    made = formula(text)
    assert found in made
    assert ElementTree.fromstring(made).get("alttext") == text


@pytest.mark.parametrize(
    "text", ["top_k=1", "buffer_size", "width", "cl-prompts run digits", "tests/golden/a.npz"]
)
def test_a_name_stays_code(text: str) -> None:
    assert formula(text) is None


def test_only_the_formulas_of_a_page_change() -> None:
    code = "<code>a_i</code>"
    page = f'<p>{code}</p><h2 id="formulas">F</h2>{code}<h2 id="x">X</h2>{code}'
    assert with_formulas(page).count("<math") == 1
    assert with_formulas(page).count("<code>a_i</code>") == 2


def test_public_names_have_a_first_line() -> None:
    found = public_names(ROOT / "cl_prompts", "losses")
    assert all(first for _, _, first in found)
    assert ("cl_prompts.losses.classification", "masked_cross_entropy") in {f[:2] for f in found}


def test_the_navigation_has_every_page() -> None:
    entries = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    sections = {name: pages for entry in entries for name, pages in entry.items()}
    linked = {
        page
        for name in ("Guides", "Reference", "Records")
        for entry in sections[name]
        for page in entry.values()
    }
    kept = {
        file.relative_to(ROOT / "docs").as_posix()
        for room in ("guides", "reference", "records")
        for file in (ROOT / "docs" / room).glob("*.md")
    }
    assert linked - {"run_folders.md"} == kept
