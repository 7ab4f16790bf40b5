"""The runnable layer: recipes, runner, command line, run folders, pictures, reports."""

from cl_prompts.catalog import door

__getattr__, __dir__ = door(
    __name__,
    "cli.entry.main recipes.run_config.RunConfig recipes.run_config.plan report.page.write_report"
    " results.comparison.compare results.comparison.written run_folder.runs.RunRecord"
    " run_folder.runs.collect runner.running.new_runs trained.model.Model",
)
__all__ = __dir__()
