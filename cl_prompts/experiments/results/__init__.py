"""Results of finished runs as tables and curves.

``groups.groups`` divides runs into groups of comparable ones, ``comparison.compare`` adds paired
statistics over seeds, and ``written`` writes Markdown, LaTeX, CSV and JSON. ``history`` reads
curves and matrices of one run, ``aggregates`` averages over seeds, and ``metrics`` lists the
metrics of tables.
"""
