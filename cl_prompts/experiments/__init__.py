"""The runnable layer: recipes, runner, command line, run folders, pictures and reports."""
