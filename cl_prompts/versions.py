"""Version of the package, and the number of its results."""

#: pyproject.toml reads the version here
__version__ = "0.1.0"

#: tables and sweeps separate runs of different NUMBERS: raise it with each change of results
NUMBERS = 2
