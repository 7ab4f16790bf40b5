"""Commands as functions whose parameters are the arguments of the command line.

Commands on finished runs are in ``outcomes``. ``arguments`` describes arguments that several
commands have.
"""

from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from shlex import quote
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le

from cl_prompts.errors import InputError
from cl_prompts.experiments.cli import models, outcomes
from cl_prompts.experiments.executors.launching import Jobs, Kind, Launching
from cl_prompts.experiments.executors.signals import stop_says
from cl_prompts.experiments.recipes.recipe_files import check_recipe_code, recipe_label
from cl_prompts.experiments.recipes.values import as_seeds
from cl_prompts.experiments.run_folder import files
from cl_prompts.experiments.trained import MODELS, named
from cl_prompts.user_code import extra


def ls(listed: str | None = None) -> None:
    """List recipes, strategies, plugins, scenarios, data sets, backbones, your runs or models.

    Args:
        listed: one of the lists, runs, or models.
    """
    from cl_prompts.experiments.cli import listing

    if listed == "models":
        print(listing.listed_models(MODELS))
    else:
        print(listing.listed_runs(Path("runs")) if listed == "runs" else listing.listed(listed))


def show(shown: Sequence[str]) -> None:
    """Print a recipe, or the settings of a strategy.

    Args:
        shown: a recipe, or strategy NAME, plugin NAME, scenario NAME, dataset NAME, backbone,
            label_noise, evaluation.
    """
    from cl_prompts.experiments.cli.listing import shown_text

    print(shown_text(shown).rstrip("\n"))


def init(
    place: Path,
    *,
    backbone: str | None = None,
    weights: Path | None = None,
    test_percent: float = 20,
    seed: int = 0,
    out: Path | None = None,
    force: bool = False,
) -> None:
    """Look at a folder or table of your images, and write a recipe for it.

    Args:
        place: train/<class>/* and test/<class>/*, <class>/* alone, or a table of path,label;label.
        backbone: use this one instead of the proposed one.
        weights: file of the backbone's weights (default: from the hub).
        out: file to write (default: NAME.yaml, named after the folder).
        force: overwrite an existing recipe.
    """
    from cl_prompts.backbones.catalog import EMBEDDED
    from cl_prompts.datasets.survey import name_of, survey
    from cl_prompts.experiments.cli.proposal import other_sizes, recipe_for
    from cl_prompts.experiments.trained.training import backbone_for

    name = name_of(place) if out is None else recipe_label(str(out))
    out = out or Path(f"{name}.yaml")
    if out.suffix not in (".yaml", ".yml"):
        raise InputError(f"{out} is not a recipe file: give a name that ends in .yaml")
    if not force and out.exists():
        raise InputError(f"{out} exists already: add --force, or choose another --out")
    if backbone is not None:
        from cl_prompts.backbones.weights import check_backbone

        check_backbone(backbone)
    if weights is not None and not weights.is_file():
        raise InputError(f"weight file {weights} does not exist: check --weights")
    with outcomes.progress("image files opened") as progress:
        found = survey(place, test_percent=test_percent, seed=seed, progress=progress)
    for line in found.lines():
        print(line)
    chosen, size = backbone_for(found, backbone)
    if chosen != EMBEDDED:
        print(other_sizes(chosen, size))
    if weights is not None:
        from cl_prompts.backbones import create_backbone

        create_backbone(chosen, weights=str(weights), image_size=size)  # refuses others
    files.replace(out, [recipe_for(found, name, backbone, weights).encode()])
    print(f"wrote {out}; next: cl-prompts run {quote(str(out))}")


def validate(recipe: str, settings: Sequence[str] = (), *, trust_code: bool = False) -> None:
    """Build and check all parts of a recipe without running it."""
    from cl_prompts.experiments.recipes.run_config import plan
    from cl_prompts.user_code import labels_of

    check_recipe_code(recipe, settings, trust_code)
    runs = plan(recipe, settings)
    from cl_prompts.experiments.runner.building import Resources, check_plan, split_of

    with outcomes.progress("image files opened") as progress:
        resources = Resources(progress)
        built, warnings = check_plan(runs, resources)
        # Strategies share the stream of a seed, and some scenarios have one for all seeds.
        streams = {split_of(run, resources.data(run)).describe(): run for run in runs}
    print(built.data)
    for file in built.data.skipped:
        print(f"left out: {file}")
    for text, run in streams.items():
        print(f"stream of seed {run.stream_seed}: {text}")
    for warning in warnings:
        print(f"note: {warning}")
    strategies = ", ".join(labels_of(run.strategy for run in runs).values())
    print(f"{recipe} is valid: {len(runs)} runs ({strategies})")


def run(
    recipe: str | None = None,
    settings: Sequence[str] = (),
    *,
    resume: Path | None = None,
    jobs: Jobs | None = None,
    trust_code: bool = False,
    out: Path = Path("runs"),
    command_line: str = "",
) -> None:
    """Run a recipe, every strategy with every seed, and write a report.

    Args:
        resume: continue the run in this folder from its last checkpoint, or the unfinished runs of
            a plan.
        jobs: runs at the same time (default: 1; for a tiny ViT on the CPU one for every four runs,
            at most one per core).
    """
    if (recipe is None) == (resume is None):
        raise InputError("give either a recipe, such as digits, or --resume FOLDER")
    console = outcomes.console_of()
    if resume is not None:
        with stop_says("stopped: the same command continues"):
            from cl_prompts.experiments.runner.running import resumed

            runs = resumed(resume, console=console, trust_code=trust_code, jobs=jobs)
            outcomes.execute(runs, None if (resume / "config.yaml").is_file() else resume)
        return
    with stop_says("stopped before the first run began"):
        check_recipe_code(str(recipe), settings, trust_code)
        # Before imports that take seconds, so that a wrong name or key is reported at once.
        from cl_prompts.experiments.recipes.run_config import plan

        planned = plan(str(recipe), settings)
        from cl_prompts.experiments.runner.running import new_runs

        runs = new_runs(planned, out=out, console=console, command=command_line, jobs=jobs)
        above = out / planned[0].recipe
        outcomes.execute(runs, above)
        own = planned[0].dataset["name"] in ("folder", "csv", "hf")
        print(outcomes.next_steps(runs.finished[0], None if own else above))


@stop_says("stopped: the same command continues")
def sweep(
    recipe: str,
    settings: Sequence[str] = (),
    *,
    jobs: Jobs | None = None,
    executor: Kind = "local",
    cpus: Annotated[int, Ge(1), Le(1024)] | None = None,
    gpus: Annotated[float, Ge(0), Le(64)] | None = None,
    sampler: Literal["tpe", "random"] | None = None,
    trials: Annotated[int, Ge(1), Le(10_000)] | None = None,
    objective: str | None = None,
    search_seed: str | None = None,
    on: str | None = None,
    trust_code: bool = False,
    out: Path = Path("runs"),
    command_line: str = "",
) -> None:
    """Run every combination of values; skip finished runs and resume interrupted ones.

    Args:
        settings: settings, each with one value or several, such as strategy=er,mvp seed=1-5
            lr=1e-3,1e-2.
        jobs: runs at the same time (default: 1; on a cluster, as many as fit, or 1 in a search).
        executor: local, ray or slurm: processes of this machine, or tasks on a cluster.
        cpus: of each run on Ray or Slurm (default: 1).
        gpus: of each run on Ray or Slurm, such as 0.5 (default: 1 where device asks for one).
        sampler: search for good settings, such as lr=1e-4..1e-1, with Optuna: tpe or random.
        trials: number of settings to try in a search (default: 20).
        objective: number of summary.json that a search optimises (default: a_auc).
        search_seed: of the runs of a search, which are not reported (default: 1000).
        on: what a search scores: halves (one half of the classes; the other one is reported), or a
            recipe with another data set.
    """
    from cl_prompts.experiments.sweeps.grid import grid
    from cl_prompts.experiments.sweeps.search import Search, SearchOptions

    check_recipe_code(recipe, settings, trust_code)
    how = Launching(executor, jobs, cpus, gpus)
    where: Any = {"out": out, "console": outcomes.console_of(), "how": how, "command": command_line}
    if sampler is None and (trials, objective, search_seed, on) != (None,) * 4:
        raise InputError(
            "--trials, --objective, --search-seed and --on are for a search: add --sampler tpe"
        )
    if sampler is not None:
        seeds = as_seeds("--search-seed", search_seed or "1000")
        options = SearchOptions(sampler, trials or 20, objective or "a_auc", tuple(seeds), on)
        search = Search(recipe, settings, options, **where)
        search.execute()
        search.conclude()
        return
    runs = grid(recipe, settings)
    from cl_prompts.experiments.sweeps.sweep import Sweep

    sweep = Sweep(runs, **where)
    sweep.check()
    outcomes.execute(sweep, out / runs[0].recipe)


def serve(
    model: Path | None = None,
    *,
    new: str | None = None,
    host: str = "127.0.0.1",
    port: Annotated[int, Ge(0), Le(65_535)] = 8765,
    token: str | None = None,
    no_images: bool = False,
    data_dir: Path | None = None,
    export: Path | None = None,
    label_studio: str | None = None,
    reconcile: Path | None = None,
    backbone: str | None = None,
    weights: Path | None = None,
) -> None:
    """Serve a model that learns, undoes and forgets images while it predicts.

    Args:
        new: serve a model of this name that has no class yet, instead of MODEL.
        host: address to listen on; other machines need --token.
        port: to listen on; 0: a free one.
        token: that clients must send (default: none, for this machine alone).
        no_images: do not store images, only their features.
        data_dir: folder of the journal (default: models/NAME.live).
        export: write the model as it is now to this folder, and do not serve.
        label_studio: origin of a Label Studio whose annotations are learned.
        reconcile: export of its project (JSON), from which missed annotations are learned.
        backbone: of a new model (default: a small ViT for photos).
        weights: file of the backbone's weights (default: from the hub).
    """
    if (model is None) == (new is None):
        raise InputError("give either a model, such as latest, or --new NAME")
    if export is not None and export.exists():
        raise InputError(f"{export} exists already: give another folder")
    if host not in ("127.0.0.1", "localhost") and not token:
        raise InputError(f"{host} is open to other machines: give --token too")
    if reconcile and not label_studio:
        raise InputError("--reconcile needs --label-studio URL")
    name = named(str(new) if model is None else model.absolute().name)
    folder = data_dir or name.with_name(f"{name.name}.live")
    from cl_prompts.serving import listen

    with nullcontext() if export else listen(host, port) as listening:  # before slow imports
        print(f"loading {new if model is None else model} ...", flush=True)
        command = extra("cl_prompts.serving.command", '".[serve]" in the clone', "serve")
        from cl_prompts.experiments.trained.model import Model
        from cl_prompts.serving.learner import Learner

        base = command.new_model(folder, backbone, weights) if model is None else Model.load(model)
        with closing(Learner(base, folder, keep_images=not no_images)) as learner:
            if export is not None:
                made = learner.model()
                made.save(export)
                print(f"{export}: {made}")
            else:
                command.serve(learner, listening, token, label_studio, reconcile)


COMMANDS: tuple[Callable[..., None], ...] = (
    *(ls, show, models.train, models.predict, models.evaluate),
    *(models.learn, models.merge, models.forget, serve, models.export, models.push),
    *(init, validate, run, sweep, outcomes.report, outcomes.compare),
)
