"""Results as pages: Markdown, HTML, charts and the terminal's table.

Start at `render.py`; the pages are the templates in `templates/`. This room reads results and
computes none.
"""
