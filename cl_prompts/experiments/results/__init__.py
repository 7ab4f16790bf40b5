"""Results of finished runs as tables and series.

``groups.groups`` divides runs into tables of those that may be compared, ``comparison.compare``
adds paired statistics over seeds, ``comparison_text`` writes Markdown, LaTeX, CSV and JSON.
``history`` reads curves and matrices of one run, ``curves`` averages them over seeds; ``metrics``
lists the numbers of tables.
"""
