"""One fix as a page that can be mailed."""
