"""Report: one self-contained HTML page with tables and charts.

``page.write_report`` makes it from run folders alone. ``tables`` prepares the values for the
template, ``charts`` the pictures, and ``summary`` the sentences.
"""
