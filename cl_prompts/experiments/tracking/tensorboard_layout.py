"""TensorBoard's layout of curves, and its table of settings and final numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.plugins.hparams import summary_v2 as hparams
from tensorboard.plugins.hparams.api_pb2 import STATUS_SUCCESS
from tensorboard.plugins.hparams.metadata import (
    PLUGIN_DATA_VERSION,
    PLUGIN_NAME,
    SESSION_END_INFO_TAG,
)
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo
from torch.utils.tensorboard import SummaryWriter

from cl_prompts.experiments.recipes.grid import held_settings, short_names
from cl_prompts.experiments.recipes.settings import Settings

Scalar = bool | int | float | str


def add_layout(board: SummaryWriter, measure: str) -> None:
    """Lay the curves of all runs together, under "Custom scalars".

    Each chart shows one tag of every run that TensorBoard finds. All runs write the same layout,
    which TensorBoard merges.

    Args:
        board: writer of the run.
        measure: "accuracy" or "map".
    """
    words = "mAP" if measure == "map" else measure
    board.add_custom_scalars(
        {
            "curves over samples seen": {
                f"anytime {words}": ["Multiline", [f"^{measure}/anytime$"]],
                "A_AUC so far": ["Multiline", [f"^{measure}/a_auc$"]],
                f"{words} at task ends": ["Multiline", [f"^{measure}/task_end$"]],
                "forgetting": ["Multiline", ["^forgetting$"]],
                "training loss": ["Multiline", ["^loss/train$"]],
            }
        }
    )


def compared_settings(settings: Settings, varied: Sequence[str]) -> dict[str, Scalar]:
    """Settings that TensorBoard puts beside final numbers: strategy, seed and what else differs.

    >>> from cl_prompts.experiments.recipes.settings import plan
    >>> (run,) = plan("digits", ["strategy=er", "seed=1", "lr=0.1"])
    >>> compared_settings(run, ["seed", "options.lr", "options.pool_size"])
    {'strategy': 'er', 'seed': 1, 'lr': 0.1}

    Args:
        settings: of the run.
        varied: dotted names, see :func:`~cl_prompts.experiments.recipes.grid.differing_settings`.

    Returns:
        Values by the names that one writes on the command line; what is neither a truth value, a
        number nor a text is text.
    """
    held = held_settings(settings)
    # Of all that differ, so that one setting has one name in all runs of a command.
    names = short_names(dict.fromkeys(["strategy", "seed", *varied]))
    return {name: _scalar(held[key]) for key, name in names.items() if key in held}


def add_results(
    board: SummaryWriter,
    folder: Path,
    settings: Mapping[str, Scalar],
    final: Mapping[str, float],
    samples: int,
) -> None:
    """Write settings and final numbers of a run, for the tab "HParams".

    torch's ``add_hparams`` is not used: it writes truth values as numbers, and the columns of the
    table, of which TensorBoard takes those of the first run that it finds. Without them it finds
    the settings of all runs.

    Args:
        board: writer of the run.
        folder: of the run, by which TensorBoard tells runs of equal settings apart.
        settings: see :func:`compared_settings`.
        final: numbers of the run by name.
        samples: seen, the step of the final numbers.
    """
    writer: Any = board.file_writer  # its type says None, too, which holds before any event
    writer.add_summary(hparams.hparams_pb(dict(settings), trial_id="/".join(folder.parts[-3:])))
    for name, value in final.items():
        board.add_scalar(f"final/{name}", value, samples)
    end = HParamsPluginData(
        session_end_info=SessionEndInfo(status=STATUS_SUCCESS), version=PLUGIN_DATA_VERSION
    )
    plugin = SummaryMetadata.PluginData(plugin_name=PLUGIN_NAME, content=end.SerializeToString())
    about = SummaryMetadata(plugin_data=plugin)
    writer.add_summary(Summary(value=[Summary.Value(tag=SESSION_END_INFO_TAG, metadata=about)]))


def _scalar(value: Any) -> Scalar:
    return value if isinstance(value, bool | int | float | str) else str(value)
