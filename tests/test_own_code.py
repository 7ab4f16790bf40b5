"""Dotted names: what is imported, and what counts as a strategy, plugin, scenario or data set."""

from __future__ import annotations

import os
import py_compile
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from importlib import import_module, reload
from importlib.util import cache_from_source
from pathlib import Path
from types import ModuleType

import pytest

import cl_prompts
from cl_prompts.errors import InputError
from cl_prompts.experiments.cli import main
from cl_prompts.own_code import (
    is_declared,
    listed_files,
    load_function,
    load_object,
    run_files,
    sources,
)
from cl_prompts.strategies import plugin_class, strategy_class

HERE = __name__


@cl_prompts.dataset
def images() -> None:
    """A function with a decorator."""


def plain() -> None:
    """A function without."""


class Anything:
    """Something whose attributes are all there."""

    def __getattr__(self, name: str) -> str:
        return "data set"

    def __call__(self) -> None:
        raise AssertionError("it must not be called")


anything = Anything()


def test_objects_are_named_by_module_and_name() -> None:
    assert load_object("strategy", "cl_prompts.errors:InputError") is InputError
    with pytest.raises(InputError, match="strategy 'no_such_module:X' cannot be imported: Module"):
        load_object("strategy", "no_such_module:X")
    says = "unknown strategy in module cl_prompts.errors 'InputErro': did you mean 'InputError'"
    with pytest.raises(InputError, match=says):
        load_object("strategy", "cl_prompts.errors:InputErro")
    with pytest.raises(InputError, match=r"unknown strategy in module cl_prompts\.errors ''"):
        load_object("strategy", "cl_prompts.errors")


def test_the_current_folder_is_searched_for_own_code_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in ("missing_library", "beside"):
        (tmp_path / f"{module}.py").write_text("found = 1")
    (tmp_path / "own_top.py").write_text("import beside\n\nfound = beside.found + 1\n")
    (tmp_path / "far").mkdir()
    (tmp_path / "far/linked_top.py").write_text("import beside\n\nfound = beside.found + 2\n")
    (tmp_path / "linked_top.py").symlink_to("far/linked_top.py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    before = list(sys.path)
    assert main(["ls", "strategies"]) == 0
    assert capsys.readouterr().out
    assert load_object("strategy", "own_top:found") == 2
    assert load_object("strategy", "linked_top:found") == 3
    assert run_files("own_top") == [tmp_path / "own_top.py"]
    assert sys.path == before
    with pytest.raises(ModuleNotFoundError):
        import_module("missing_library")
    for module in ("own_top", "linked_top", "beside"):
        del sys.modules[module]


def test_own_code_of_another_folder_finds_nothing_in_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("library", "downloaded"):
        (tmp_path / folder).mkdir()
    (tmp_path / "downloaded/optional_part.py").write_text("found = 1")
    (tmp_path / "library/own_elsewhere.py").write_text("import optional_part")
    monkeypatch.chdir(tmp_path / "downloaded")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "library"), *filter(None, sys.path)])
    with pytest.raises(InputError, match="No module named 'optional_part'"):
        load_object("strategy", "own_elsewhere:found")


@pytest.mark.parametrize("line", ["~no_such_user_/x", "/x\0y", "relative.py"])
def test_a_line_of_trusted_files_that_is_no_path_is_refused(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "cl-prompts").mkdir()
    listing = tmp_path / "cl-prompts/trusted_code"
    listing.write_text(f"# mine\n{line}\n")
    with pytest.raises(InputError, match="write a path that begins with / or ~"):
        listed_files()
    listing.unlink()
    assert listed_files() == []
    listing.mkdir()
    with pytest.raises(InputError, match="cannot be read as a list of paths"):
        listed_files()


def test_no_list_of_trusted_files_lies_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cl-prompts").mkdir()
    (tmp_path / "cl-prompts/trusted_code").write_text("/\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", ".")
    assert listed_files() == []


@pytest.mark.parametrize("name", ["subprocess:Popen", "os.path:join", "antigravity:x"])
def test_modules_of_python_are_not_imported(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cl_prompts.own_code.import_module", None)
    with pytest.raises(InputError, match="is Python's own, and holds no plugin"):
        load_object("plugin", name)


def test_only_what_wears_the_decorator_of_its_kind_is_used() -> None:
    assert load_function("data set", f"{HERE}:images") is images
    assert not is_declared("scenario", images)
    for name in ("plain", "anything", "HERE"):
        with pytest.raises(InputError, match=r"not declared as one: .* @cl_prompts\.dataset above"):
            load_function("data set", f"{HERE}:{name}")
    with pytest.raises(InputError, match=r"@cl_prompts\.scenario above"):
        load_function("scenario", f"{HERE}:images")


@pytest.mark.parametrize("name", [f"{HERE}:Anything", "yaml:YAMLObject", "tests.toys:ALL"])
def test_a_plugin_is_one_of_avalanche(name: str) -> None:
    with pytest.raises(InputError, match="is no class derived from Avalanche's BasePlugin"):
        plugin_class(name)


COMMAND = "id > PWNED"
RECIPES = {
    "a command as data set": f"dataset: {{name: 'subprocess:getoutput', cmd: '{COMMAND}'}}",
    "a command by way of numpy": f"dataset: {{name: 'numpy.f2py.os:system', x: '{COMMAND}'}}",
    "a removal as scenario": "scenario: {name: 'shutil:rmtree', path: precious}",
    "a process as plugin": "run: [er]\nstrategies: {er: {plugins: {'subprocess:Popen': "
    f"{{args: '{COMMAND}', shell: true}}}}}}}}",
    "a process of another package as plugin": "run: [er]\nstrategies: {er: {plugins: "
    f"{{'torch.utils.cpp_extension.subprocess:Popen': {{args: '{COMMAND}', shell: true}}}}}}}}",
}


@pytest.mark.parametrize("text", RECIPES.values(), ids=RECIPES)
def test_a_recipe_runs_no_command(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "precious").mkdir()
    (tmp_path / "mine.yaml").write_text(f"extends: digits\n{text}\n")
    assert main(["validate", "mine.yaml", "seed=1"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert sorted(file.name for file in tmp_path.iterdir()) == ["mine.yaml", "precious"]


TREE = {
    "pack/__init__.py": "import torch, json\nfrom cl_prompts.errors import InputError\n",
    "pack/methods/__init__.py": "",
    "pack/methods/mine.py": "from . import parts\nfrom ..deep.er import x\nimport beside, other\n",
    "pack/methods/parts.py": "def f():\n    from pack import late\n",
    "pack/deep/er.py": "x = 1\n",
    "pack/late.py": "from pack.methods import *\nfrom .all import *\n",
    "pack/all/__init__.py": "__all__ = ['named']",
    "pack/all/named.py": "",
    "pack/unused.py": "",
    "beside.py": "import linked, elsewhere\n",
    "real/linked.py": "",
    "lib/elsewhere.py": "",
    "site-packages/other.py": "",
}


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of modules, which can be imported."""
    for name, text in TREE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "linked.py").symlink_to("real/linked.py")
    for folder in ("site-packages", "lib", "."):
        monkeypatch.syspath_prepend(str(tmp_path / folder))
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] in (*READ, "other")]:
        del sys.modules[name]


READ = ["beside", "elsewhere", "linked", "pack", "pack.all", "pack.all.named", "pack.deep.er"]
READ += [f"pack.{name}" for name in ("late", "methods", "methods.mine", "methods.parts")]


def test_the_source_of_a_name_is_all_that_it_imports_but_what_is_installed(
    tree: Path,
) -> None:
    before = sources("pack.methods.mine:Method")
    assert list(before) == READ
    assert "pack" not in sys.modules
    for name in TREE:
        text = (tree / name).read_text()
        (tree / name).write_text(text + "# edited\n")
        module = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        module = module.removeprefix("real.").removeprefix("lib.")
        now = sources("pack.methods.mine:Method")
        assert [key for key in before if now[key] != before[key]] == [module] * (module in READ)
        (tree / name).write_text(text)


def test_the_source_is_that_of_the_import(tree: Path) -> None:
    with pytest.raises(InputError, match="unknown strategy"):
        load_object("strategy", "pack.late:Method")
    before = sources("pack.late:Method")
    (tree / "pack" / "late.py").write_text("x = 2")
    assert sources("pack.late:Method") == before
    reload(sys.modules["pack.late"])
    assert sources("pack.late:Method") != before


def test_each_import_and_reload_of_a_module_has_its_own_source(tree: Path) -> None:
    (tree / "pack/late.py").write_text("import beside\ndef f():\n    import pack.unused\n")
    load_object("strategy", "pack.late:f")()
    before = sources("pack.late:f")
    for name in ("beside", "pack/late", "pack/unused"):
        with (tree / f"{name}.py").open("a") as file:
            file.write("x = 2\n")
    assert sources("pack.late:f") == before
    reload(sys.modules["beside"])
    now = sources("pack.late:f")
    assert [name for name in before if now[name] != before[name]] == ["beside"]


def test_compiled_code_of_another_source_is_not_run(tree: Path) -> None:
    sources_before = {
        "beside": "def value():\n    import elsewhere\n    return elsewhere.x\n",
        "lib/elsewhere": "x = 1\n",
        "pack/deep/er": "x = 1\n",
        "pack/late": "from pack.deep.er import x\nfrom beside import value\ny = 1\n",
        "site-packages/other": "x = 1\n",
    }
    for name, text in sources_before.items():
        file = tree / f"{name}.py"
        file.write_text(text)
        py_compile.compile(str(file))
        file.write_text(text.replace("1", "2"))  # of one size and time, as copies may be
        os.utime(file, ns=(0, 0))
        compiled = Path(cache_from_source(str(file)))
        content = compiled.read_bytes()
        compiled.write_bytes(content[:8] + bytes(4) + content[12:])
    assert load_object("data set", "pack.late:y") == 2
    assert load_object("data set", "pack.late:x") == 2
    assert load_object("data set", "pack.late:value")() == 2
    reload(sys.modules["pack.late"])
    assert load_object("data set", "pack.late:y") == 2
    assert import_module("other").x == 1  # what is installed is found as ever


@pytest.mark.parametrize(
    ("class_of", "base"), [(strategy_class, "OnlineStrategy"), (plugin_class, "StrategyPlugin")]
)
def test_the_class_of_a_reloaded_module_is_the_new_one(
    class_of: Callable[[str], type], base: str, tree: Path
) -> None:
    text = f"from cl_prompts.strategies import {base}\nclass Mine({base}): ..."
    (tree / "beside.py").write_text(text)
    before = class_of("beside:Mine")
    assert class_of("beside:Mine") is before
    reload(sys.modules["beside"])
    assert class_of("beside:Mine") is not before


def test_a_source_that_cannot_be_read_is_refused(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / "beside.py").unlink()
    with zipfile.ZipFile(tree / "packed.zip", "w") as archive:
        archive.writestr("beside.py", "")
    monkeypatch.syspath_prepend(str(tree / "packed.zip"))
    with pytest.raises(InputError, match="the source of module beside cannot be read from"):
        sources("beside:Method")


def test_files_of_modules_are_found_without_an_import(tree: Path) -> None:
    assert run_files("pack.methods.mine") == [
        tree / "pack" / name for name in ("__init__.py", "methods/__init__.py", "methods/mine.py")
    ]
    assert run_files("pack.deep.er") == [tree / "pack/__init__.py", tree / "pack/deep/er.py"]
    assert run_files("pack.no.such") == [tree / "pack/__init__.py"]
    assert run_files("no_such") == run_files("") == run_files("a..b") == []
    assert "pack" not in sys.modules


@pytest.mark.parametrize("name", ["no_such:X", "cl_prompts.strategies.mvp:MVP", ":", "..a:b"])
def test_names_without_a_source_of_ones_own(name: str) -> None:
    assert sources(name) == {}


def test_a_module_without_a_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))
    vars(sys.modules["__main__"])["found"] = 1
    with pytest.raises(InputError, match="module __main__ has no file, by whose content a run"):
        load_object("strategy", "__main__:found")


def test_importing_the_package_stays_cheap() -> None:
    code = "import sys, cl_prompts; assert not {'torch', 'numpy', 'avalanche'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
