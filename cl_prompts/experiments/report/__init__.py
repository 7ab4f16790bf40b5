"""Report: one self-contained HTML page with tables and pictures.

``page.write_report`` makes it from run folders alone. ``section_views``, ``strategy_views`` and
``curve_views`` prepare values for the templates beside them. ``chart`` draws the curves, which the
page's script makes interactive; ``gallery`` holds pictures, ``downloads`` the tables as CSV.
"""
