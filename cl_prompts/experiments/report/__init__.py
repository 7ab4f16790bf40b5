"""Report: one self-contained HTML page with tables and pictures.

``page.write_report`` makes it from run folders alone. ``report_views`` and ``strategy_views``
prepare what the templates beside them show; ``chart`` draws the curves that the page's script
makes interactive, ``gallery`` holds pictures, ``downloads`` the tables as CSV.
"""
