"""Tables to Markdown, CSV, LaTeX, HTML, JSON and the terminal; the same table always gives the same bytes."""
