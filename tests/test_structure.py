"""The package stays small enough to be read: no measure of ``benchmarks/structure.py`` grows."""

from pathlib import Path

import pytest
import structure


def test_no_measure_exceeds_its_cap() -> None:
    measured = structure.sizes()
    assert measured.keys() == structure.CAPS.keys()
    over = {name: n for name, n in measured.items() if n > structure.CAPS[name]}
    assert not over, {name: (n, structure.CAPS[name]) for name, n in over.items()}


def test_groups_of_modules_that_import_each_other_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The measure of circles can fail."""
    package = tmp_path / "pack"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "one.py").write_text("from pack.two import two\n")
    (package / "two.py").write_text("from pack import one\n")
    monkeypatch.setattr(structure, "ROOT", tmp_path)
    monkeypatch.setattr(structure, "PACKAGE", package)
    assert structure.circles() == [{"pack.one", "pack.two"}]
