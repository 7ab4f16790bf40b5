"""Write the numbers of finished runs into the tables of README and pages.

``python tools/tables.py RUNS RECIPE,RECIPE PAGE...`` looks in each page for tables of
strategies with columns of a report, and writes the means and standard deviations of the runs into
their rows. A table counts if the last command above it runs one of these recipes. Texts and other
rows do not change.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from cl_prompts.experiments.results.groups import groups
from cl_prompts.experiments.run_folder.runs import collect

#: heading in a page -> heading in a report
COLUMNS = {
    "A_AUC": "A_AUC %",
    "A_last": "A_last %",
    "forgetting": "forgetting %",
    "avg mAP": "avg mAP %",
    "last mAP": "last mAP %",
    "task forgetting": "task forgetting %",
    "trained parameters": "trainable",
    "F train": "F train",
    "F eval": "F eval",
}
#: the name of a strategy in pages, without what stands in parentheses or behind a comma
NAMES = {
    "AIR": "air",
    "APER": "aper",
    "AnaCP": "anacp",
    "CLIB": "clib",
    "CODA-Prompt": "coda_prompt",
    "CPS-Prompt": "cps_prompt",
    "DER++": "derpp",
    "DualPrompt": "dual_prompt",
    "EASE": "ease",
    "ER": "er",
    "ER-ACE": "er_ace",
    "EWC++": "ewcpp",
    "FeCAM": "fecam",
    "RDA": "rda",
    "FlyPrompt": "flyprompt",
    "GACL": "gacl",
    "HiDe-Prompt": "hide_prompt",
    "KLDA": "klda",
    "L2P": "l2p",
    "L3A": "l3a",
    "LayUP": "layup",
    "LwF": "lwf",
    "MISA": "misa",
    "MULTI-LANE": "multi_lane",
    "MVP": "mvp",
    "MVP with a whitened head": "mvp@whitened",
    "MVP with one augmentation per batch": "mvp@views",
    "NoRGa": "norga",
    "OnePrompt": "one_prompt",
    "Rainbow Memory": "rainbow",
    "RanDumb": "randumb",
    "RanPAC": "ranpac",
    "S-Prompt++": "s_prompt",
    "SMoPE": "smope",
    "SinglePrompt": "single_prompt",
    "VQ-Prompt": "vq_prompt",
    "additive prompts": "additive_prompt",
    "approximated prompts": "approximated_prompt",
    "mixture of experts": "mixture_prompt",
    "balanced ridge": "balanced_ridge",
    "fine-tuning": "fine_tuning",
    "joint": "joint",
    "joint probe": "joint_probe",
    "linear probe": "linear_probe",
    "nearest class mean": "ncm",
    "recommended": "recommended",
    "ridge regression": "multi_label_ridge",
    "streaming LDA": "slda",
}


def numbers(runs: Path) -> dict[str, dict[str, str]]:
    """Cells of a report's table by strategy and heading."""
    found: dict[str, dict[str, str]] = {}
    for group in groups(collect([runs])):
        headings = [metric.title.replace("\u00a0", " ") for metric in group.metrics]
        for label, cells in group.table().items():
            texts = dict(zip(headings, (cell.text for cell in cells), strict=True))
            trained = group.rows[label][0].summary["trainable_parameters"]
            found.setdefault(label, {**texts, "trainable": f"{trained:,}"})
    return found


def text_of(column: str, cell: str) -> str:
    """A cell as pages write it: costs with one decimal."""
    if column.startswith("F ") and cell != "-":
        return f"{float(cell):.1f}"
    return cell


def updated(page: str, found: dict[str, dict[str, str]], recipes: set[str]) -> tuple[str, set[str]]:
    """A page with the numbers of these runs, and the strategies that it has rows of."""
    lines = page.split("\n")
    columns: list[str] = []
    rows: set[str] = set()
    recipe = ""
    for i, line in enumerate(lines):
        if not line.startswith("|"):
            columns = []
            recipe = ([recipe, *re.findall(r"cl-prompts run (\w+)", line)])[-1]
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not columns:
            columns = cells if cells[0] == "strategy" else [""]
            continue
        name = NAMES.get(re.sub(r"( \(.*\)|, .*)$", "", cells[0]), "")
        measured = columns[1:]
        if measured and set(measured) <= COLUMNS.keys() and name in found and recipe in recipes:
            rows.add(name)
            new = [text_of(c, found[name][COLUMNS[c]]) for c in measured]
            lines[i] = f"| {' | '.join([cells[0], *new])} |"
    return "\n".join(lines), rows


def main(runs: Path, recipes: set[str], pages: list[Path]) -> None:
    """Update pages and say what they lack."""
    found = numbers(runs)
    for page in pages:
        text, rows = updated(page.read_text(), found, recipes)
        page.write_text(text)
        print(f"{page}: {', '.join(sorted(rows)) or 'no row'}")
    unknown = set(found) - set(NAMES.values())
    print(f"no name for: {', '.join(sorted(unknown)) or 'none'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), set(sys.argv[2].split(",")), [Path(p) for p in sys.argv[3:]])
