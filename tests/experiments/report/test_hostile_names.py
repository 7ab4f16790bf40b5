"""Names that would be markup, formulas or scripts: the page is the one of harmless names."""

from __future__ import annotations

import base64
import json
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest

from cl_prompts.experiments.report.page import write_report
from tests.experiments.fake_runs import fake_multi_label_run, fake_run, seal
from tests.experiments.sketches import sketched

HOSTILE = (
    """</script><script>alert(1)</script></style></title></svg><b>""",
    """"><img src=x onerror=alert(1)>' onmouseover='alert(1)""",
    """javascript:alert(1)//{{ 7 * 7 }}{% raw %}]]><!--""",
)
_EMBEDDED = "data:image/svg+xml;base64,"


class Page(HTMLParser):
    """What a browser makes of a page: elements with the names of their attributes, addresses and
    the contents of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        self.addresses: list[str] = []
        self.scripts: list[str] = []
        self._in_script = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.elements.append((tag, tuple(name for name, _ in attrs)))
        self.addresses += [value or "" for name, value in attrs if name in ("href", "src")]
        self._in_script = tag == "script"
        if self._in_script:
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        """Leave a script."""
        self._in_script = False

    def handle_data(self, data: str) -> None:
        """Note the content of a script."""
        if self._in_script:
            self.scripts[-1] += data


def page_of(root: Path, name: str) -> Page:
    """Report of runs in which everything that somebody may name has a name."""
    about = {
        "class_names": [f"{name} {number}" for number in range(10)],
        "dataset": name,
        "scenario": name,
        "backbone": name,
        "command": f"cl-prompts run {name}",
        "skipped_images": [f"{name}.png"],
        "unread_files": {name: 3},
    }
    changes = {"dataset.name": name, "scenario.name": name, "backbone.name": name}
    for seed in (1, 2):
        for strategy in ("mvp", "linear_probe"):
            fake_run(
                root,
                strategy,
                seed,
                name=f"mine:{name}" if strategy == "mvp" else None,
                settings={"note": name},
                changes=changes,
                environment={"device": name, "git_revision": name},
                **about,
            )
    fake_run(root, "mvp", 3, status="failed", **{**about, "error": name})
    folder = fake_multi_label_run(root / "several")
    content = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps(content | about))
    seal(folder)
    return Page(write_report([root]).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def harmless(tmp_path_factory: pytest.TempPathFactory) -> Page:
    with sketched(pages=True):
        return page_of(tmp_path_factory.mktemp("harmless"), "tame")


@pytest.mark.parametrize("name", ["".join(HOSTILE[:2]), HOSTILE[2]])
def test_a_name_adds_no_element_attribute_or_script(
    name: str, harmless: Page, tmp_path: Path
) -> None:
    found = page_of(tmp_path, name)
    assert Counter(found.elements) == Counter(harmless.elements)
    assert len(found.scripts) == len(harmless.scripts)
    for script, other in zip(found.scripts, harmless.scripts, strict=True):
        assert script.count("<") == other.count("<")
    assert not [a for a in found.addresses if a.strip().lower().startswith("javascript:")]


@pytest.mark.slow
def test_names_add_no_element_to_a_picture(tmp_path: Path, drawn: None) -> None:
    pictures = [_picture(address) for address in page_of(tmp_path, "".join(HOSTILE)).addresses]
    tags = {tag.rpartition("}")[2] for found in pictures for tag in found}
    assert "path" in tags
    assert not tags & {"script", "a", "b", "img", "foreignObject"}


def _picture(address: str) -> list[str]:
    """Elements of an embedded drawing; none of another address."""
    if not address.startswith(_EMBEDDED):
        return []
    text = base64.b64decode(unquote(address.removeprefix(_EMBEDDED)))
    return [element.tag for element in ElementTree.fromstring(text).iter()]
