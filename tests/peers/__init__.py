"""Tests against programs that this project did not write: ndmjob (Amanda's NDMP client and server) and GNU
tar.
"""
