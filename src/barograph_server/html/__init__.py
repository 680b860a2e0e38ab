"""Templates of HTML pages and pictures, their style, and charts."""
