"""Results of finished runs as tables and series.

``sections.sections`` divides runs into tables of those that may be compared, ``comparison.compare``
adds paired statistics over seeds, ``comparison_text`` writes Markdown, LaTeX, CSV and JSON.
``series`` reads curves and matrices of one run; ``columns`` lists what a table can show.
"""
