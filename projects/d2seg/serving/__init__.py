"""A page and an HTTP interface to try a model, on this machine alone.

What answers is given from above (``questions.Model``): nothing here knows a model. One thread runs
it, a bounded line of requests waits for it (``line.py``), and what a request may hold is bounded
before it is read (``intake.py``). ``page/`` is what the browser loads.
"""
