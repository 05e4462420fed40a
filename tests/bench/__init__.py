"""How fast: ``make bench``, or ``python -m tests.bench --help``.

Each row is one job. Everything that can do it does so in turn, round after round in the same run, so that
what else happens on the machine meets all of them; medians are compared, and the noise stands beside them.
"""
