"""Parts of the site that need no mkdocs: formulas as MathML, and the list of public names.

Browsers show MathML by themselves, so that pages need no script and no network.
"""

from __future__ import annotations

import ast
import html
import re
from pathlib import Path

_NAMES = (
    "alpha beta gamma delta epsilon eta theta kappa lambda mu nu pi rho sigma tau phi psi omega"
    " Theta Sigma Delta Phi Omega Lambda"
)
_GREEK = dict(zip(_NAMES.split(), "αβγδεηθκλμνπρστφψωΘΣΔΦΩΛ", strict=True))
_FUNCTIONS = {
    *("argmin", "argmax", "cos", "det", "diag", "exp", "log", "max", "mean", "min", "norm", "sum"),
    *("sigmoid", "softmax", "sqrt", "relu", "gelu", "tanh", "CE", "KL", "BCE", "LN", "MLP", "tr"),
}
_SIGNS = {"*": "·", "-": "−", ">=": "≥", "<=": "≤", "->": "→", "<-": "←", "!=": "≠", "+=": "+="}
_TOKEN = re.compile(
    r"(?P<number>\d+(?:\.\d+)?(?:e-?\d+)?)|(?P<word>[^\W\d_]+)|(?P<script>[_^])"
    r"|(?P<sign>>=|<=|->|<-|!=|\+=|-=|\*=|\S)|(?P<space>\s+)"
)
#: names, settings, files and commands, which stay code
_CODE = re.compile(
    r"^(?:[\w.]+=\S+ ?)+$|^cl-prompts |[A-Za-z]{2,}[./][A-Za-z]|[A-Za-z]\(\)|[\"'`{}]\w*\.|::"
)
_WORD = re.compile(r"[A-Za-z0-9]{2,}")
_SECTION = re.compile(r'(<h2 id="formulas">.*?)(?=<h2 |\Z)', re.DOTALL)
_SPAN = re.compile(r"<code>([^<]*)</code>(?!</pre>)")


def with_formulas(page: str) -> str:
    """HTML of a page whose section "Formulas" has formulas as MathML.

    >>> with_formulas('<h2 id="formulas">F</h2><code>w_i = 2</code><code>width</code>')[-200:-20]
    '</msub><mo>=</mo><mn>2</mn></mrow></math>'
    """

    def shown(found: re.Match[str]) -> str:
        return formula(html.unescape(found[1])) or found[0]

    return _SECTION.sub(lambda section: _SPAN.sub(shown, section[1]), page)


def formula(text: str) -> str | None:
    """A formula in plain text as MathML; None for what is none, such as the name of a setting."""
    if _CODE.search(text) or (_WORD.fullmatch(text) and text not in _GREEK):
        return None
    if re.search(r"(?<![A-Za-z])([A-Za-z]{2,})_", _without_known(text)):
        return None
    tokens = [(found.lastgroup or "", found[0]) for found in _TOKEN.finditer(text)]
    row, rest = _row(tokens, 0)
    if rest != len(tokens):
        return None
    return f'<math alttext="{html.escape(text)}"><mrow>{row}</mrow></math>'


def _without_known(text: str) -> str:
    known = "|".join(sorted([*_GREEK, *_FUNCTIONS], key=len, reverse=True))
    return re.sub(rf"(?<![A-Za-z])(?:{known})(?=_)", "", text)


def _row(tokens: list[tuple[str, str]], at: int, closing: str = "") -> tuple[str, int]:
    """MathML of tokens up to a closing sign, and the place behind it."""
    parts: list[str] = []
    while at < len(tokens):
        kind, token = tokens[at]
        if closing and token == closing:
            return "".join(parts), at + 1
        if kind == "script" and parts:
            scripts: dict[str, str] = {}
            while at < len(tokens) and tokens[at][0] == "script" and tokens[at][1] not in scripts:
                sign = tokens[at][1]
                scripts[sign], at = _script(tokens, at + 1)
            low, high = scripts.get("_", ""), scripts.get("^", "")
            name = "msubsup" if low and high else "msub" if low else "msup"
            parts[-1] = f"<{name}>{parts[-1]}{low}{high}</{name}>"
            continue
        if kind == "space" and _FUNCTIONS & {token for _, token in tokens[at - 1 : at + 2]}:
            parts.append('<mspace width="0.17em"/>')
        parts.append(_atom(kind, token))
        at += 1
    return "".join(parts), at


def _script(tokens: list[tuple[str, str]], at: int) -> tuple[str, int]:
    """MathML of a subscript or superscript, and the place behind it."""
    if at >= len(tokens):
        return "<mrow></mrow>", at
    if tokens[at][1] == "{":
        row, after = _row(tokens, at + 1, "}")
        return f"<mrow>{row}</mrow>", after
    if tokens[at][1] == "-" and at + 1 < len(tokens):
        return f"<mrow><mo>−</mo>{_atom(*tokens[at + 1])}</mrow>", at + 2
    return _atom(*tokens[at]), at + 1


def _atom(kind: str, token: str) -> str:
    if kind == "number":
        return f"<mn>{token}</mn>"
    if kind == "word":
        if token in _GREEK or len(token) == 1:
            return f"<mi>{_GREEK.get(token, token)}</mi>"
        if token in _FUNCTIONS:
            return f'<mi mathvariant="normal">{token}</mi>'
        return (
            f'<mspace width="0.25em"/><mtext>{html.escape(token)}</mtext><mspace width="0.25em"/>'
        )
    if kind == "space":
        return ""
    sign = html.escape(_SIGNS.get(token, token))
    return f'<mo stretchy="false">{sign}</mo>' if token in "()[]{}|" else f"<mo>{sign}</mo>"


def public_names(package: Path, room: str) -> list[tuple[str, str, str]]:
    """Module, name and first line of the docstring of each public class and function of a room.

    Args:
        package: its folder.
        room: name of a package in it.
    """
    found = []
    for file in sorted((package / room).rglob("*.py")):
        parts = (package.name, *file.relative_to(package).with_suffix("").parts)
        module = ".".join(part for part in parts if part != "__init__")
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                words = (ast.get_docstring(node) or "").partition("\n\n")[0].split()
                found.append((module, node.name, " ".join(words)))
    return found
