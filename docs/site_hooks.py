"""Hooks of mkdocs: pages that lie elsewhere in the repository, and the reference of the package.

The pages are written to be read in the repository, where links lead to files. On the site, links to
pages lead to pages, and links to other files become their names.
"""

from __future__ import annotations

import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).resolve().parent))

from site_parts import public_names, with_formulas

ROOT = Path(__file__).resolve().parent.parent
#: files of the repository that are pages of the site
ELSEWHERE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "THIRD_PARTY.md": "third_party.md",
    "cl_prompts/assets/glyph_vit_tiny.md": "embedded_vit.md",
    "runs/README.md": "run_folders.md",
}
#: rooms of the package -> what they are
ROOMS = {
    "scenarios": "who sees which sample when, and Avalanche benchmarks of it",
    "strategies": "one Avalanche strategy per method, and plugins that are their options",
    "datasets": "registry, readers, decoding, transforms",
    "backbones": "the frozen ViT, injection of prompts, weights",
    "prompts": "selectors, pools, prefixes, components",
    "models": "what strategies train",
    "losses": "one idea per file",
    "training": "replay buffers, schedules, rates",
    "metrics": "continual and multi-label scores",
}
#: a role of Sphinx with its target, as Markdown leaves it
ROLE = re.compile(r":(?:class|meth|func|attr|data|mod):<code>~?(?:[\w.]*\.)?(\w+)</code>")
#: the same in a docstring
ROLE_TEXT = re.compile(r":(?:class|meth|func|attr|data|mod):`~?(?:[\w.]*\.)?(\w+)`")
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def on_config(config: Any) -> Any:
    """Put the pages of methods and of rooms behind those that their sections name, so that each has
    a previous and a next one."""
    sections = {name: pages for entry in config.nav for name, pages in entry.items()}
    sections["Methods"] += [f"methods/{file.name}" for file in _method_pages()]
    sections["Package"] += [f"api/{room}.md" for room in ROOMS]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that lie outside of docs/, the list of methods and the reference."""
    made = {page: (ROOT / name).read_text() for name, page in ELSEWHERE.items()}
    made["methods/index.md"] = _methods()
    made["api/index.md"] = _reference_index()
    made |= {f"api/{room}.md": _reference(room) for room in ROOMS}
    for page, text in made.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let links lead to pages of the site, and a search for a question to its answer."""
    place = page.file.src_uri
    if place == "guides/faq.md":
        page.meta["search"] = {"boost": 5}
    original = {page: name for name, page in ELSEWHERE.items()}.get(place, f"docs/{place}")
    return LINK.sub(lambda found: _link(found, original, place), markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Show the names in Sphinx's roles as code, and formulas as mathematics."""
    return with_formulas(ROLE.sub(r"<code>\1</code>", html))


def _link(found: re.Match[str], original: str, place: str) -> str:
    picture, text, target = found.groups()
    path, hash_sign, anchor = target.partition("#")
    if not path or "://" in path:
        return found[0]
    file = posixpath.normpath(posixpath.join(posixpath.dirname(original), path))
    if file == "docs/methods":
        goal = "methods/index.md"
    elif file in ELSEWHERE:
        goal = ELSEWHERE[file]
    elif file.startswith("docs/"):
        goal = file.removeprefix("docs/")
    elif (ROOT / file).exists():
        return text if file in text else f"{text} (`{file}`)"
    else:
        return found[0]  # broken: mkdocs says so
    here = posixpath.relpath(goal, posixpath.dirname(place) or ".")
    return f"{picture}[{text}]({here}{hash_sign}{anchor})"


def _method_pages() -> list[Path]:
    return sorted((ROOT / "docs" / "methods").glob("*.md"))


def _methods() -> str:
    lines = [
        "# Methods",
        "",
        "Source, idea, formulas, settings, deviations and results of each:",
        "",
    ]
    for file in _method_pages():
        title = file.read_text().split("\n", 1)[0].removeprefix("# ")
        lines.append(f"* [{title}]({file.name})")
    return "\n".join(lines) + "\n"


def _reference_index() -> str:
    rows = [f"* [`cl_prompts.{room}`]({room}.md): {what}" for room, what in ROOMS.items()]
    lines = ["# Package reference", "", "Generated from the docstrings.", "", *rows]
    for room in ROOMS:
        lines += ["", f"## `cl_prompts.{room}`", ""]
        for module, name, first in public_names(ROOT / "cl_prompts", room):
            # An __init__ has no page of its own.
            page = module != f"cl_prompts.{room}"
            shown = f"[`{name}`]({room}.md#{module}.{name})" if page else f"`{name}`"
            lines.append(f"* {shown}: " + ROLE_TEXT.sub(r"`\1`", first))
    return "\n".join(lines) + "\n"


def _reference(room: str) -> str:
    package = ROOT / "cl_prompts" / room
    modules = [
        ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for file in sorted(package.rglob("*.py"))
        if file.name != "__init__.py"
    ]
    parts = [f"## `{module}`\n\n::: {module}\n" for module in modules]
    return f"# cl_prompts.{room}\n\n" + "\n".join(parts)
