"""Report: one self-contained HTML page with tables and charts.

``page.write_report`` makes it from run folders alone, and ``charts`` draws the pictures.
"""
