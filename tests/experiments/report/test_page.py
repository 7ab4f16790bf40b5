"""The page: self-contained, and it says what was run."""

from __future__ import annotations

import base64
import os
import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from cl_prompts.errors import InputError, RunError
from cl_prompts.experiments.report import page as report
from cl_prompts.experiments.report.page import new_page, write_report
from tests.experiments.fake_runs import fake_run


def test_page_is_self_contained(runs_folder: Path, page: str) -> None:
    assert not re.search(r"<script[^>]* src|<link|@import|url\(|https?://", page)
    sources = re.findall(r'src(?:set)?="([^"]*)"', page)
    assert sources
    start = "data:image/svg+xml;base64,"
    assert all(source.startswith((start, "data:image/png;base64,")) for source in sources)
    drawn = [
        base64.b64decode(source.removeprefix(start)).decode()
        for source in sources
        if source.startswith(start)
    ]
    assert not any(re.search(r'(?:src|href)="(?!#|data:)|@import|url\((?!#)', svg) for svg in drawn)
    links = set(re.findall(r'href="#([^"]*)"', page))
    assert links == {"runs", *(f"note-1-{n}" for n in range(1, 7))}
    assert all(f'id="{link}"' in page for link in links)
    assert not (runs_folder / "report_files").exists()


def test_page_links_to_runs_and_their_settings(runs_folder: Path, page: str) -> None:
    links = re.findall(r'href="(?!#|data:)([^"]*)"', page)
    assert all((runs_folder / unquote(link)).exists() for link in links)
    assert "digits/mvp/1-20250101-120000/config.yaml" in links
    assert "digits/mvp/3-20250101-120000" in links


def test_every_table_can_be_downloaded(page: str) -> None:
    files = re.findall(r'href="data:text/csv;charset=utf-8,([^"]*)" download="([^"]*)"', page)
    names = [name for _, name in files]
    assert names[:3] == ["results-1.csv", "results-by-name-1.csv", "differences-1.csv"]
    assert "tasks-1-mvp.csv" in names
    assert names[-1] == "runs.csv"
    assert len(set(names)) == len(names)
    lines = unquote(files[-1][0]).splitlines()
    assert len(lines) == 1 + 9


def test_the_same_runs_give_the_same_bytes(tmp_path: Path, drawn: None) -> None:
    for strategy in ("linear_probe", "mvp"):
        fake_run(tmp_path, strategy, n_tasks=2, n_classes=2)
    first = write_report([tmp_path]).read_bytes()
    assert write_report([tmp_path]).read_bytes() == first


def test_pictures_are_written_where_asked_for(tmp_path: Path) -> None:
    fake_run(tmp_path, "mvp", n_tasks=2, n_classes=2)
    write_report([tmp_path], figures=True)
    pngs = sorted((tmp_path / "report_files").glob("*.png"))
    assert all(png.read_bytes().startswith(b"\x89PNG") for png in pngs)
    names = [png.name for png in pngs]
    assert [name for name in names if "seed-1" in name] == [
        "digits-mvp-seed-1-classes.png",
        "digits-mvp-seed-1-tasks.png",
        "digits-mvp-seed-1-usage.png",
    ]
    assert "digits-curves.png" in names
    write_report([tmp_path])
    assert not (tmp_path / "report_files").exists()
    (tmp_path / "empty_files").mkdir()  # somebody else's
    write_report([tmp_path], tmp_path / "empty.html")
    assert (tmp_path / "empty_files").is_dir()


def test_every_picture_has_an_alternative_text_of_its_own(page: str) -> None:
    texts = re.findall(r'<img [^>]*alt="([^"]*)"|role="img" aria-label="([^"]*)"', page)
    found = [image or plot for image, plot in texts]
    widths = set(re.findall(r'<img [^>]*width="(\d+)"', page))
    assert widths == {"922"}  # pictures of half the page's width are of keys, which none has here
    assert len(found) > 10
    assert len(set(found)) == len(found)
    assert all(re.search(r"\d", text.partition(":")[2]) for text in found)
    curves = next(text for text in found if "Accuracy at any time; at the end" in text)
    assert re.search(r"joint \d+\.\d %, ", curves)


def test_the_reference_can_be_chosen(tmp_path: Path) -> None:
    for strategy in ("linear_probe", "mvp"):
        fake_run(tmp_path, strategy, n_tasks=1, n_classes=2)
    assert "Paired differences to linear_probe" in write_report([tmp_path]).read_text()
    text = write_report([tmp_path], reference="mvp").read_text()
    assert "Paired differences to mvp" in text
    assert "--reference mvp" in text
    with pytest.raises(InputError, match="unknown row of these runs 'mvq': did you mean 'mvp'"):
        write_report([tmp_path], reference="mvq")


def test_rows_and_reference_are_as_asked(tmp_path: Path) -> None:
    folders = [fake_run(tmp_path, name, n_tasks=1, n_classes=2) for name in ("mvp", "linear_probe")]
    text = write_report(folders, tmp_path).read_text()
    assert "Strategies: mvp, linear_probe." in text
    assert "Paired differences to mvp" in text


def test_page_defines_numbers_of_other_papers(page: str) -> None:
    for key in ("f_last", "forgetting_anytime", "task_forgetting_l2p", "a_last_by_task"):
        assert f"<code>{key}</code>: " in page


def test_each_table_has_a_heading_that_says_what_makes_it_another(tmp_path: Path) -> None:
    fake_run(tmp_path, "joint")
    fake_run(tmp_path, "joint", 2)
    fake_run(tmp_path, "joint", changes={"scenario.blurry_percent": 60}, time="20250102-120000")
    fake_run(tmp_path, "joint", recipe="letters", n_classes=12)
    text = write_report([tmp_path]).read_text()
    titles = ["digits", "digits: blurry_percent 60 instead of 10", "letters"]
    assert [title for title in titles if f">{title}</h2>" in text] == titles
    assert "<b>Not comparable</b> with <b>digits</b>: blurry_percent 60 instead of 10." in text


def test_page_says_what_was_run_and_how_to_repeat_it(page: str) -> None:
    shown = re.sub(r"<(style|script).*?</\1>", "", page, flags=re.DOTALL)
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", shown.replace("<br>", " ")))
    assert "2025-01-01: 8 of 9 runs finished." in text
    assert (
        "fine_tuning, joint, linear_probe, mvp. Data set digits, scenario si_blurry: 1,550 images"
        " of 10 classes" in text
    )
    assert "Seeds: 1, 2." in text
    assert "cl-prompts run digits seeds=1,2,3" in text
    assert "Environment of 8 finished runs" in text
    assert "failed: the loss is NaN at sample 640" in text
    assert "Task ends differ between seeds." in text
    assert "lr: 0.005" in text
    # The first stream, and the first seed of the strategy with wide pictures.
    assert page.count("<details open>") == 2
    # Tasks of three strategies, and of each of them its classes by seed.
    assert page.count('<div class="multiples">') == 4
    assert page.count("<h5>seed 2</h5>") == 3
    found = re.search(r'<p class="finding">(.*)</p>', page)
    assert found is not None
    assert found[1].startswith("A_AUC: ")
    assert page.count('<details class="strategy" open>') == 4


def test_page_says_when_seeds_differ_between_strategies(tmp_path: Path) -> None:
    fake_run(tmp_path, "mvp", 1)
    fake_run(tmp_path, "linear_probe", 2)
    assert "not run on the same seeds" in write_report([tmp_path]).read_text()


def test_page_without_a_finished_run_lists_what_there_is(tmp_path: Path) -> None:
    folder = fake_run(tmp_path, status="running")
    (folder / "metrics.csv").write_text("samples_seen,metr")  # half written
    assert "No run is finished yet" in write_report([tmp_path]).read_text()


def test_report_goes_where_it_is_told_and_replaces_the_older_one(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "runs", "joint")
    assert write_report([run]) == run / "report.html"
    other = fake_run(tmp_path / "runs", "joint", 2)
    assert write_report([run, other]) == run.parent / "report.html"
    page = tmp_path / "page.html"
    assert write_report([run], page) == page
    assert write_report([run], tmp_path / "new" / "place").parent == tmp_path / "new" / "place"


def test_names_cannot_break_the_page_or_a_picture(tmp_path: Path, drawn: None) -> None:
    names = [r"$\frac{$", "<b>", "_hidden", *"defghij"]
    fake_run(tmp_path, class_names=names, backbone="<script>alert(1)</script>")
    text = write_report([tmp_path]).read_text()
    assert "<script>alert" not in text
    assert "<b></span>" not in text


def test_pages_and_pictures_of_others_are_left_alone(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "runs", "joint")
    other = tmp_path / "a.html"
    other.write_text("<html>mine</html>")
    (tmp_path / "b.html").symlink_to(other)
    picture = tmp_path / "c_files" / "mine.png"
    picture.parent.mkdir()
    picture.touch()
    write_report([run], tmp_path / "d.html")
    (tmp_path / "d_files").symlink_to(picture.parent)
    for name in ("a.html", "b.html", "c.html", "d.html"):
        with pytest.raises(InputError, match=rf"{name[0]}(\.html|_files) .*give (--out )?another"):
            write_report([run], tmp_path / name)
    assert other.read_text() == "<html>mine</html>"
    assert picture.exists()
    pictures = tmp_path / "e_files"
    page = write_report([run], tmp_path / "e.html", figures=True)
    drawn = sorted(pictures.iterdir())
    assert drawn
    (pictures / "mine.png").touch()
    write_report([run], page)
    assert [file.name for file in pictures.iterdir()] == ["mine.png"]
    drawn[0].write_text("mine")
    with pytest.raises(InputError, match=rf"{drawn[0].name} is of no report here"):
        write_report([run], page, figures=True)
    assert drawn[0].read_text() == "mine"
    assert write_report([run], new_page(tmp_path / "new")).stat().st_size > 1000


def test_a_page_that_appears_while_it_is_drawn_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "a.html"

    def drawn(*args: object) -> str:
        other.write_text("<html>mine</html>")
        return "<html>ours</html>"

    monkeypatch.setattr(report, "_render", drawn)
    with pytest.raises(InputError, match=r"a\.html does not say that it is a report"):
        write_report([fake_run(tmp_path / "runs", "joint")], other)
    assert other.read_text() == "<html>mine</html>"


def test_bad_places_to_write_are_refused(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "runs", "joint")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot write the report to .*file"):
        write_report([run], tmp_path / "file")
    with pytest.raises(InputError, match="no run folder was named"):
        write_report([])


def test_a_replaced_run_is_listed_as_such(tmp_path: Path) -> None:
    old = fake_run(tmp_path, time="20250101-000000", results={"a_auc": 0.1})
    fake_run(tmp_path, time="20250102-000000", results={"a_auc": 0.9})
    text = write_report([tmp_path]).read_text()
    listed = next(line for line in text.split("<tr>") if old.name in line)
    assert "replaced by a newer run" in listed


def test_nothing_is_written_about_a_bad_folder(tmp_path: Path) -> None:
    (fake_run(tmp_path) / "summary.json").write_text("{")
    with pytest.raises(InputError, match=r"cannot read .*summary.json .*content is damaged"):
        write_report([tmp_path])
    assert not list(tmp_path.rglob("report*"))


def test_two_reports_of_one_second_have_names_of_their_own(tmp_path: Path) -> None:
    pages = [new_page(tmp_path / "new") for _ in range(20)]
    assert len(set(pages)) == 20
    assert all(re.fullmatch(r"report-\d{8}-\d{6}(-\d+)?\.html", page.name) for page in pages)


@pytest.mark.parametrize(("number", "kind"), [(28, RunError), (13, InputError)])
def test_a_full_disk_is_no_bad_input(
    number: int, kind: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    fake_run(tmp_path)
    monkeypatch.setattr(report, "_render", lambda *_: "")
    monkeypatch.setattr(report, "replace", refuse)
    with pytest.raises(kind, match=f"cannot write the report to .*: {os.strerror(number)}"):
        write_report([tmp_path])
