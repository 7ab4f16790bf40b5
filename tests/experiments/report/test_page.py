"""The page: self-contained, complete, and safe against names with markup."""

import json
import re
import shutil
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from cl_prompts.errors import InputError
from cl_prompts.experiments.report.page import write_report
from tests.experiments.commands import change_summary
from tests.experiments.fake_runs import fake_multi_label_run, fake_run, seal


class Page(HTMLParser):
    """What a browser makes of a page: elements with their attributes, texts, and scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        self.attributes: dict[str, list[str]] = {}
        self.scripts: list[str] = []
        self.words: list[str] = []
        self._inside = ""
        self.feed(text)
        self.text = " ".join(" ".join(self.words).split())
        charts = [json.loads(found) for found in self.scripts if found.startswith('{"width"')]
        #: alternative texts of the charts
        self.titles: list[str] = [chart["description"] for chart in charts]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(name for name, _ in attrs)))
        for name, value in attrs:
            self.attributes.setdefault(name, []).append(value or "")
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside != "style":
            self.words.append(data)


@pytest.fixture(scope="module")
def read(page: str) -> Page:
    return Page(page)


def test_page_is_self_contained(runs_folder: Path, read: Page) -> None:
    assert not {"link", "img", "iframe"} & {tag for tag, _ in read.elements}
    assert "src" not in read.attributes
    links = read.attributes["href"]
    inside = {link for link in links if link.startswith("#")}
    assert inside == {"#runs"}
    files = [unquote(link) for link in links if link not in inside]
    assert all((runs_folder / link).exists() for link in files)
    assert "digits/mvp/1-20250101-120000/config.yaml" in files
    assert not (runs_folder / "report_figures").exists()


def test_page_says_what_was_run_and_how_to_repeat_it(read: Page) -> None:
    for words in (
        "2025-01-01: 8 of 9 runs finished. Unfinished runs are only in",
        "mvp leads: ",
        "Data set digits , scenario si_blurry : 10 classes in 5 tasks. Backbone tiny",
        "Backbone tiny . Seeds: 1, 2.",
        "joint: trained on all data at once",
        "1,290 numbers, 27,000 trained",
        "Difference from fine_tuning in points",
        "cl-prompts run digits seeds=1,2,3",
        "failed: the loss is NaN at sample 640",
        "lr: 0.005",
        *("f_last", "forgetting_anytime", "task_forgetting_l2p", "a_last_by_task"),
    ):
        assert words in read.text, words


def test_every_chart_has_an_alternative_text(read: Page) -> None:
    assert read.titles == read.attributes["aria-label"]
    assert len(set(read.titles)) == len(read.titles)
    curve = "digits: Accuracy at any time"
    assert read.titles[:2] == [curve, f"{curve}, differences"]
    kinds = Counter(re.sub(r".*?(stream|tasks|classes|$).*", r"\1", t) for t in read.titles)
    # Two streams; tasks of three strategies, and classes of each of their runs.
    assert (kinds["stream"], kinds["tasks"], kinds["classes"]) == (2, 3, 6)


def test_curves_of_one_label_over_samples_and_of_several_over_tasks_too(tmp_path: Path) -> None:
    for strategy in ("linear_probe", "mvp"):
        fake_multi_label_run(tmp_path, strategy)
    read = Page(write_report([tmp_path]).read_text())
    assert any("mAP after each task" in title for title in read.titles)
    assert "CF1" in read.text


def test_charts_are_written_where_asked_for(tmp_path: Path) -> None:
    fake_run(tmp_path, "mvp", n_tasks=2, n_classes=2)
    for form, start in (("pdf", b"%PDF"), ("svg", b"<svg")):
        write_report([tmp_path], figures=form)
        files = sorted((tmp_path / "report_figures").glob(f"*.{form}"))
        assert all(file.read_bytes().startswith(start) for file in files)
        assert [file.stem for file in files] == [
            "digits-accuracy-at-any-time",
            "digits-mvp-seed-1-classes",
            "digits-mvp-seed-1-prompts",
            "digits-mvp-tasks",
            "digits-stream-seed-1",
        ]


def test_rows_and_reference_are_as_asked(tmp_path: Path) -> None:
    folders = [fake_run(tmp_path, name, n_tasks=1, n_classes=2) for name in ("mvp", "linear_probe")]
    assert "Difference from mvp in points" in write_report(folders, tmp_path).read_text()
    text = write_report([tmp_path], reference="linear_probe").read_text()
    assert "Difference from linear_probe in points" in text
    assert "--reference linear_probe" in text


def test_report_goes_where_it_is_told_and_replaces_only_a_report(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "runs", "joint")
    assert write_report([run]) == run / "report.html"
    other = fake_run(tmp_path / "runs", "joint", 2)
    assert write_report([run, other]) == run.parent / "report.html"
    assert write_report([run], tmp_path / "new" / "place").parent == tmp_path / "new" / "place"
    mine = tmp_path / "mine.html"
    mine.write_text("<html>mine</html>")
    with pytest.raises(InputError, match=r"mine\.html is not a report of cl-prompts"):
        write_report([run], mine)
    assert mine.read_text() == "<html>mine</html>"


HOSTILE = """javascript:alert(1)//{{ 7 * 7 }}{% raw %}]]></script><script>alert(1)</script></style>\
</title></svg><b>"><img src=x onerror=a()>'<!--"""


def page_of(root: Path, name: str) -> Page:
    about = {
        "class_names": [f"{name} {number}" for number in range(10)],
        "dataset": name,
        "scenario": name,
        "backbone": name,
        "command": f"cl-prompts run {name}",
        "skipped_images": [f"{name}.png"],
    }
    environment = {"device": name, "git_revision": name}
    changes = {"dataset.name": name, "scenario.name": name, "backbone.name": name}
    given = {"changes": changes, "environment": environment, **about}
    for seed in (1, 2):
        fake_run(root, "mvp", seed, name=f"mine:{name}", settings={"note": name}, **given)
        fake_run(root, "linear_probe", seed, settings={"note": name}, **given)
    fake_run(root, "mvp", 3, status="failed", **{**about, "error": name})
    folder = fake_multi_label_run(root / "several")
    change_summary(folder, **about)
    seal(folder)
    return Page(write_report([root]).read_text(encoding="utf-8"))


def test_a_name_adds_no_element_attribute_or_script(tmp_path: Path) -> None:
    harmless = page_of(tmp_path / "harmless", "tame")
    found = page_of(tmp_path / "hostile", HOSTILE)
    assert Counter(found.elements) == Counter(harmless.elements)
    assert [s.count("<") for s in found.scripts] == [s.count("<") for s in harmless.scripts]
    links = found.attributes["href"]
    assert not [link for link in links if link.strip().lower().startswith("javascript:")]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of 46 methods under a budget; each is better than the one before."""
    root = tmp_path_factory.mktemp("many")
    for number in range(46):
        for seed in (1, 2):
            fake_run(
                root,
                "mvp",
                seed,
                name=f"mine:Method{number}",
                time=f"20250101-0000{number:02}",
                n_tasks=2,
                settings={"plugins": {"budget": {"passes": 1.0}}},
                results={"a_auc": (number + seed) / 100, "a_last": 0.5, "forgetting": 0.1},
                budget={"spent": 1.0, "share": 1.0},
            )
    return write_report([root])


def test_many_rows_are_sorted_and_the_first_charts_have_the_best_and_the_reference(
    many: Path,
) -> None:
    read = Page(many.read_text())
    assert "digits (budget=1.0)" in read.words
    assert "Method45 leads: 1.0 points above Method44 [1.0, 1.0], 2 seeds" in read.text
    names = [word for word in read.words if re.fullmatch(r"Method\d+", word)]
    assert names[:46] == [f"Method{number}" for number in range(45, -1, -1)]
    charts = [json.loads(found) for found in read.scripts if found.startswith('{"width"')]
    curves = {
        chart["description"]: [*dict.fromkeys(p["strategy"] for p in chart["datasets"]["points"])]
        for chart in charts
        if "points" in chart.get("datasets", {})
    }
    ten = [f"Method{number}" for number in range(45, 35, -1)]
    title = "digits (budget=1.0){}: Accuracy at any time"
    assert curves[title.format(", 11 of 46 rows")] == [*ten, "Method0"]
    assert curves[title.format(", 11 of 46 rows") + ", differences"] == ten
    assert len(curves[title.format("")]) == 46


def test_a_report_of_many_rows_fits_five_screens_and_says_that_tables_scroll(many: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    playwright = pytest.importorskip("playwright.sync_api")
    if browser is None:
        pytest.skip("Chromium is not installed")
    hint = "getComputedStyle(document.querySelector('.scroll'), '::before').content"
    rows = "[...document.querySelectorAll('.costs tbody tr')].filter((row) => row.offsetHeight)"
    with playwright.sync_playwright() as play:
        one = play.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = one.new_page(viewport={"width": 1280, "height": 720})
        page.goto(many.as_uri())
        page.wait_for_selector(".chart svg")
        assert page.evaluate("document.documentElement.scrollHeight") < 5 * 720
        assert page.evaluate(hint) == "none"
        assert page.evaluate(f"{rows}.length") == 11
        page.click(".costs summary")
        assert page.evaluate(f"{rows}.length") == 46
        page.set_viewport_size({"width": 390, "height": 844})
        page.wait_for_selector(".scroll.wide")
        assert "scrolls sideways" in page.evaluate(hint)
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        page.emulate_media(media="print")
        assert page.evaluate(hint) == "none"
        cell = "document.querySelector('.gaps td:nth-child(3)').textContent.split(', p')[0]"
        assert " " not in page.evaluate(cell)
        wraps = "getComputedStyle(document.querySelector('td:nth-child(3)')).whiteSpace"
        assert page.evaluate(wraps) == "nowrap"
        one.close()
