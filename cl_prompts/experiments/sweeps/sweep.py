"""Sweeps: all combinations of settings, each executed once."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from cl_prompts.backbones.weight_files import weights_hash
from cl_prompts.errors import InputError
from cl_prompts.experiments.executors.launching import Launching
from cl_prompts.experiments.recipes.run_config import RunConfig
from cl_prompts.experiments.run_folder import identity
from cl_prompts.experiments.run_folder.files import check_sums, read_json
from cl_prompts.experiments.run_folder.plans import PlannedRun, describe, new_path, state_of
from cl_prompts.experiments.runner.building import check_plan
from cl_prompts.experiments.runner.running import Runs
from cl_prompts.experiments.tracking.progress import print_line
from cl_prompts.user_code import is_dotted

#: folder of a run that has none yet
_NONE = Path("missing")


class Sweep(Runs):
    """Runs of a grid, executed unless they are finished.

    Args:
        settings: of all runs, all different.
        out: parent of the recipes' folders.
        command: as typed.
        how: where runs are executed, and how many at a time; None: one by one, here.
        console: where progress is shown.

    Attributes:
        runs: the runs, in the order of the settings; those of earlier commands in their folders.

    Raises:
        InputError: a finished run was edited.

    >>> from cl_prompts.experiments.sweeps.grid import grid
    >>> sweep = Sweep(grid("digits", ["strategy=ncm", "seed=1-2"]), Path("runs"), console=Console())
    >>> [run.settings.seed for run in sweep.runs], sweep.finished
    ([1, 2], [])
    """

    def __init__(
        self,
        settings: Sequence[RunConfig],
        out: Path,
        *,
        console: Console,
        how: Launching | None = None,
        command: str = "",
    ) -> None:
        super().__init__([], console, how=how or Launching(), out=out)
        self._notes: list[str] = []
        self._fingerprints: dict[str, dict[str, object]] = {}
        earlier = earlier_runs(out / settings[0].recipe)
        self.runs = [PlannedRun(self._folder(run, earlier), run, command) for run in settings]
        for folder in self.finished:
            check_sums(folder)

    def check(self) -> None:
        """Validate the unfinished runs without executing them, and print their number."""
        left = [run.settings for run in self.runs if run.state != "finished"]
        warnings = check_plan(left, self.resources)[1] if left else []
        for warning in (*self._notes, *warnings):
            print_line(self.console, f"note: {warning}")
        print_line(self.console, f"{len(self.runs)} runs: {describe(self.runs)}")

    def execute(self) -> list[Path]:
        """Execute the unfinished runs; see :meth:`Runs.execute`."""
        self.runs = [
            replace(run, folder=new_path(self.out, run.settings)) if run.folder == _NONE else run
            for run in self.runs
        ]
        return super().execute()

    @property
    def retry(self) -> str:
        """How to finish the runs."""
        return "repeat the command"

    def continuation(self) -> str:
        """Return how to continue after a stop."""
        return "stopped: the same command continues"

    def _folder(self, settings: RunConfig, earlier: Mapping[str, list[Path]]) -> Path:
        """The folder of an earlier run with this identity (settings, data, weights, code)."""
        now = identity.settings_identity(settings)
        for folder in earlier.get(_key(now), ()):
            # A resume needs equal code, and checks the data itself.
            finished = state_of(folder) == "finished"
            more = self._measured(settings) if finished else {"package": identity.package_hash()}
            made = read_json(folder / identity.IDENTITY_FILE)
            change = next(identity.changes(made, {**now, **more}), None)
            if change is None:
                return folder
            self._notes.append(f"{folder} is not used, and its run is repeated: {change}")
        return _NONE

    def _measured(self, settings: RunConfig) -> dict[str, object]:
        # Data of a user's function may depend on the seed.
        of_seed = settings.seed if is_dotted(settings.dataset["name"]) else None
        key = json.dumps([settings.dataset, settings.backbone, of_seed])
        if key not in self._fingerprints:
            self._fingerprints[key] = {
                "data": self.resources.data(settings).fingerprint(),
                "backbone": weights_hash(self.resources.backbone(settings)),
            }
        return self._fingerprints[key]


def earlier_runs(above: Path) -> dict[str, list[Path]]:
    """Return run folders by settings: finished ones first, newest first.

    Args:
        above: folder of a recipe; its run folders lie two levels below it.
    """
    found: dict[str, list[Path]] = defaultdict(list)
    for file in above.glob(f"*/*/{identity.IDENTITY_FILE}"):
        with suppress(InputError, KeyError):  # an unreadable folder
            found[_key(read_json(file))].append(file.parent)
    for folders in found.values():
        # Names of folders are SEED-TIME.
        folders.sort(
            key=lambda f: (state_of(f) == "finished", f.name.partition("-")[2]), reverse=True
        )
    return found


def _key(made: Mapping[str, object]) -> str:
    return json.dumps(made["settings"], sort_keys=True)
