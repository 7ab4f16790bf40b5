"""Recipes, from YAML and ``key=value`` texts to checked settings.

``settings.plan`` resolves a recipe into runs; ``grid.grid`` expands several values of a key.
``signatures`` reads which settings there are, ``validation`` checks them, ``names`` finds
strategies, scenarios and data sets. The YAML files of the package lie beside these modules.
"""
