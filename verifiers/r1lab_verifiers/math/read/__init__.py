"""From the text of an answer, LaTeX or plain, to a tree."""
