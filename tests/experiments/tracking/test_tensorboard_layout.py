"""What TensorBoard reads back: layout, settings as they are, and the documented tags."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams.api_pb2 import STATUS_SUCCESS
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from torch.utils.tensorboard import SummaryWriter

from cl_prompts.experiments.tracking.tensorboard_layout import add_layout, add_results
from tests.experiments.commands import summary

PAGE = Path(__file__).parents[3] / "docs" / "tensorboard.md"


def hparams_in(folder: Path) -> dict[str, HParamsPluginData]:
    events = EventAccumulator(str(folder)).Reload()
    contents = events.PluginTagToContent("hparams")
    return {tag: HParamsPluginData.FromString(data) for tag, data in contents.items()}


def test_settings_have_their_types(tmp_path: Path) -> None:
    settings = {"strategy": "er", "options.ema": True, "options.off": False, "seed": 3, "lr": 0.5}
    with SummaryWriter(str(tmp_path)) as board:
        add_results(board, tmp_path, settings, {"a_auc": 0.25}, 77)
    found = hparams_in(tmp_path)
    start = found["_hparams_/session_start_info"].session_start_info
    kinds = {name: value.WhichOneof("kind") for name, value in start.hparams.items()}
    assert kinds == {
        "strategy": "string_value",
        "options.ema": "bool_value",
        "options.off": "bool_value",
        "seed": "number_value",
        "lr": "number_value",
    }
    assert start.hparams["options.ema"].bool_value is True
    assert set(found) == {"_hparams_/session_start_info", "_hparams_/session_end_info"}
    end = found["_hparams_/session_end_info"].session_end_info
    assert end.status == STATUS_SUCCESS
    (event,) = EventAccumulator(str(tmp_path)).Reload().Scalars("final/a_auc")
    assert (event.step, event.value) == (77, 0.25)


def test_one_chart_shows_the_anytime_curves_of_all_runs(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as board:
        add_layout(board, "map")
    events = EventAccumulator(str(tmp_path)).Reload()
    (tag,) = events.PluginTagToContent("custom_scalars")
    layout = Layout.FromString(events.Tensors(tag)[0].tensor_proto.string_val[0])
    (category,) = layout.category
    chart = category.chart[0]
    assert chart.title == "anytime mAP"
    (pattern,) = chart.multiline.tag
    assert re.search(pattern, "map/anytime")
    assert not re.search(pattern, "final_map/anytime")


def test_a_run_writes_its_layout_once_and_what_differs(mvp_run: Path) -> None:
    events = EventAccumulator(str(mvp_run)).Reload()
    (tag,) = events.PluginTagToContent("custom_scalars")
    assert len(events.Tensors(tag)) == 1
    start = hparams_in(mvp_run)["_hparams_/session_start_info"].session_start_info
    assert set(start.hparams) == {"strategy", "seed"}
    scalars = {t: events.Scalars(t)[-1].value for t in events.Tags()["scalars"]}
    for name, value in summary(mvp_run)["results"].items():
        if value is not None:
            assert scalars[f"final/{name}"] == pytest.approx(value, abs=1e-6)


def documented(kind: str) -> list[str]:
    """Patterns of the tags that the page lists under a kind."""
    rows = re.findall(r"^\| `([^`]+)` \| (\w+) \|", PAGE.read_text(), flags=re.MULTILINE)
    texts = [re.escape(tag) for tag, of in rows if of == kind]
    return [re.sub(r"<\w+>", "[a-z0-9_]+", text) for text in texts]


@pytest.mark.parametrize(
    ("kind", "read"), [("scalar", "scalars"), ("image", "images"), ("histogram", "histograms")]
)
def test_every_tag_is_documented(kind: str, read: str, mvp_run: Path, probe_run: Path) -> None:
    patterns = documented(kind)
    assert patterns
    for folder in (mvp_run, probe_run):
        tags = EventAccumulator(str(folder)).Reload().Tags()[read]
        strange = [t for t in tags if not any(re.fullmatch(p, t) for p in patterns)]
        assert not strange
