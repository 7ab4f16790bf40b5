"""Report: one self-contained HTML page with tables and charts.

``page.write_report`` makes it from run folders alone. ``views`` prepares the values of a table for
the template, ``run_views`` those of single runs, ``findings`` its sentences.
"""
