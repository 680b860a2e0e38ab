"""One style of HTML pages, and their charts."""
