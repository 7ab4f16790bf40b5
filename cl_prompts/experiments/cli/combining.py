"""Commands on the sums of finished runs: merge and forget."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cl_prompts.experiments.cli.outcomes import conclude, console_of, next_steps
from cl_prompts.experiments.run_folder.checksums import FORGOTTEN_FILE
from cl_prompts.experiments.run_folder.files import read_json


def merge(
    runs: Sequence[Path],
    *,
    name: str = "merged",
    test: Path | None = None,
    allow_duplicates: bool = False,
    trust_code: bool = False,
    out: Path = Path("runs"),
    command_line: str = "",
) -> None:
    """Merge runs of a closed-form method that learned different images, without training.

    Args:
        runs: folders of finished runs of one method, backbone and transform.
        name: of the new run (default: merged).
        test: folder of test images, <class>/* (default: those of all the runs).
        allow_duplicates: count images that several runs learned several times.
    """
    from cl_prompts.experiments.trained.combining import merge as merged

    options: Any = {"name": name, "test": test, "allow_duplicates": allow_duplicates}
    made = merged(runs, **options, out=out, trust_code=trust_code, command=command_line)
    samples = made.run.summary["samples_seen"]
    print(f"merged {len(runs)} runs: {samples} images of {len(made.classes)} classes")
    conclude([made.run.folder], None, console_of())
    print(next_steps([made.run.folder]))


def forget(
    run: Path,
    place: Path | None = None,
    *,
    class_: str | None = None,
    verify: bool = False,
    trust_code: bool = False,
    out: Path = Path("runs"),
    command_line: str = "",
) -> None:
    """Take images or a class out of a run of a closed-form method, without training.

    Args:
        place: folder of image files, or table of path,label, that the run learned.
        class_: forget all images of this class instead.
        verify: also train on the remaining images, and print the differences.
    """
    from cl_prompts.experiments.trained import forgetting

    made = forgetting.forget(
        run, place, class_name=class_, out=out, trust_code=trust_code, command=command_line
    )
    said = read_json(made.run.folder / FORGOTTEN_FILE)
    classes = f", with them class {', '.join(said['classes'])}" if said["classes"] else ""
    print(
        f"forgot {len(said['images'])} images{classes}; {made.run.summary['samples_seen']} remain"
    )
    conclude([made.run.folder], None, console_of())
    if verify:
        print(forgetting.verify(made))
