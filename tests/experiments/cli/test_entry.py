"""The command line: lists, settings, refusals and exit codes."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from cl_prompts.experiments.cli import main
from cl_prompts.experiments.cli.actions import ACTIONS
from cl_prompts.experiments.recipes.recipe_files import recipe_text

OWN = "tests.experiments.own_parts"


#: commands that print a text, or refuse a word -> exit code
QUICK = {
    "ls": 0,
    "ls strategies prompt": 0,
    "show digits": 0,
    "show strategy mvp": 0,
    "show plugin slow_heads": 0,
    "show dataset folder": 0,
    "show scenario si_blurry": 0,
    "show backbone": 0,
    "show evaluation": 0,
    "show strategy mvpp": 2,
    "completion bash": 0,
    "report --help": 0,
    "report no_such_folder": 2,
    "compare no_such_folder": 2,
    "run no_such_recipe": 2,
    "run digits strategy=mvpp": 2,
    "run digits lrr=1": 2,
    "run digits lr=fast": 2,
    "run digits plugins=nope": 2,
    "run digits scenario=nope": 2,
    "run digits backbone.weights=3": 2,
    "run --resume no_such_folder": 2,
    "sweep digits lrr=1,2": 2,
    "sweep digits --sampler tpe lrr=1..2": 2,
    "validate digits lrr=1": 2,
    "learn no_such_folder images": 2,
    "classes no_such_folder": 2,
}


def test_texts_and_refusals_of_words_load_nothing_heavy() -> None:
    heavy = "{'torch', 'torchvision', 'timm', 'matplotlib', 'avalanche', 'sklearn', 'scipy'}"
    code = f"""
import sys
from cl_prompts.experiments.cli import main
for line, code in {QUICK}.items():
    try:
        found = main(line.split())
    except SystemExit as end:  # of --help
        found = end.code or 0
    assert found == code, line
    loaded = {heavy} & set(sys.modules)
    assert not loaded, (line, loaded)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert told.returncode == 0, told.stderr[-2000:]


def test_a_reader_that_has_enough_is_no_fault() -> None:
    code = "import sys; from cl_prompts.experiments.cli import main; sys.exit(main(['ls']))"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


@pytest.mark.parametrize(("number", "code"), [(errno.ENOENT, 2), (errno.ENOSPC, 1)])
def test_a_wrong_path_is_bad_input_and_a_full_disk_a_fault(
    number: int, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(args: object) -> None:
        raise OSError(number, "reason", "some/path")

    monkeypatch.setitem(ACTIONS, "ls", fail)
    assert main(["ls"]) == code
    assert capsys.readouterr().err == "cl-prompts: some/path: reason\n"


@pytest.mark.parametrize("command", ["init", "learn"])
def test_a_link_in_a_circle_is_bad_input(
    command: str, probe_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    parent = [str(probe_run)] if command == "learn" else []
    assert main([command, *parent, str(loop)]) == 2
    assert capsys.readouterr().err.lstrip().count("\n") == 1


def test_too_little_memory_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(args: object) -> None:
        raise MemoryError

    monkeypatch.setitem(ACTIONS, "ls", fail)
    assert main(["ls"]) == 1
    assert capsys.readouterr().err.startswith("cl-prompts: there is not enough memory")


def test_quiet_prints_nothing_but_errors(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, runs_folder: Path, pages: None
) -> None:
    run = ["run", "digits", "strategy=ncm", "seed=1", "classes=3", "n_tasks=2", "--quiet"]
    assert main([*run, "--out", str(tmp_path)]) == 0
    assert main(["validate", "digits", "strategy=ncm", "seed=1", "--quiet"]) == 0
    assert main(["report", str(runs_folder), "--out", str(tmp_path), "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert main([*run, "n_tasks=0", "--out", str(tmp_path)]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "n_tasks" in told.err
    assert (tmp_path / "report.html").is_file()


def test_show_prints_a_recipe(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["show", "digits_all"]) == 0
    assert capsys.readouterr().out == recipe_text("digits_all")
    (tmp_path / "mine.yaml").write_text("extends: digits\n")
    assert main(["show", str(tmp_path / "mine.yaml")]) == 0
    assert capsys.readouterr().out == "extends: digits\n"


def test_validate_shows_the_stream_and_remarks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "digits", "seed=1"]) == 0
    told = capsys.readouterr().out
    assert (
        "digits is valid: 5 runs (mvp, mvp@whitened, single_prompt, linear_probe, ranpac)" in told
    )
    assert "note:" not in told
    assert main(["validate", "digits", "strategy=er", "seed=1", "buffer_size=1442"]) == 0
    told = capsys.readouterr().out
    assert "note: the buffer of er has room for 1442 samples" in told


def test_validate_takes_parts_of_ones_own(capsys: pytest.CaptureFixture[str]) -> None:
    own = [f"strategy=ncm,{OWN}:Doubled", f"scenario={OWN}:halves", f"dataset={OWN}:stripes"]
    assert main(["validate", "digits", "seed=1", *own, "swapped=true", "per_class=5"]) == 0
    told = capsys.readouterr().out
    assert "halves split: 2 tasks, 4 classes, 20 samples" in told
    assert "digits is valid: 2 runs (ncm, Doubled)" in told


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["digits", "n_tasks=11"], "n_tasks must be a whole number from 1 to 10"),
        (["digits", "mvp.e_blocks=[7]"], "block 7, but this ViT has blocks 0 to 5"),
        (["cifar100", "backbone=glyph_vit_tiny", "dataset.root=/nowhere"], "dataset.download=true"),
    ],
)
def test_bad_input_ends_with_exit_code_2_before_anything_is_written(
    arguments: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "runs"
    assert main(["run", *arguments, "--out", str(out)]) == 2
    assert says in capsys.readouterr().err
    assert not out.exists()


def test_report_of_finished_runs(
    mvp_run: Path,
    probe_run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    pages: None,
) -> None:
    page = tmp_path / "page.html"
    assert main(["report", str(mvp_run), str(probe_run), "--out", str(page)]) == 0
    assert f"report: {page}" in capsys.readouterr().out
    assert "linear_probe" in page.read_text()


def test_compare_prints_tables_or_writes_them(
    runs_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = str(runs_folder / "digits")
    assert main(["compare", home, "--rows", "mvp,linear_probe", "--reference", "mvp"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("## digits\n")
    assert "Difference to mvp" in told
    file = tmp_path / "table.tex"
    assert main(["compare", home, "--format", "latex", "--out", str(file)]) == 0
    assert capsys.readouterr().out == ""
    written = file.read_text()
    assert "\\toprule" in written
    assert main(["compare", home, "--out", str(file)]) == 2
    assert file.read_text() == written
