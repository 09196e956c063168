"""Numbers and regions of plain text, read without LaTeX."""
