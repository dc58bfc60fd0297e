"""Tables: what one is, how it is rendered (text, Markdown, CSV, LaTeX, JSON), and which entries are marked as best.

    table     columns with unit and direction, rows of values, notes
    marks     best, second best and ties
    render    one renderer a file format
    terminal  on a screen of any width
    latex     booktabs

Reports and comparisons both print through it.
"""
