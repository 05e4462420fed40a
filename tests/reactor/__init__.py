"""Tests that live inside a running reactor, by pytest-twisted: what a server does in its own process.

They have a pytest of their own (``-p twisted``): that plugin runs every test of a process on its reactor,
where a signal or a child of one test could end the reactor under all the others.
"""
