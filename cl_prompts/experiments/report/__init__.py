"""Report: one self-contained HTML page with tables and charts.

``page.write_report`` makes it from run folders alone: ``charts`` draws the pictures, and
``summary`` writes the sentences.
"""
