"""Does a picture show what its prompt asked for? In the shape of GenEval (arXiv 2310.11513).

Read in this order: `cases` (what is asked, with the truth), `reading` (what a picture shows, and
whether it is that), `scores` (how much is right). `../ladder.py` runs it.
"""
