"""Many styles in one pass: a generator that a style encoder tells what to paint like, trained once, then fast.

"The document", in the docstrings here, is the unpublished description that it is built after; docs/method.md (many
styles in one pass) has its formulas and numbers. It gives no results, and leaves much open: whose number stands
instead is said where it stands.
"""
