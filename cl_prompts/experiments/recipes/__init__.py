"""Recipes: YAML files and ``key=value`` overrides, resolved into run configurations.

``run_config.plan`` resolves a recipe into runs. ``recipe_files`` reads and merges recipes, and sets
keys of the command line; ``parameters`` knows and validates settings, ``values`` reads single
values. The recipes of the package lie beside these modules.
"""
