"""Altair charts of the report and of papers.

``curves`` and ``maps`` draw plain numbers: accuracies are fractions, 0 to 1, and are drawn in
percent; NaN means "not measured". ``style`` returns a chart as the specification for a page
(``spec``), or as a figure for a paper (``figure``).
"""
