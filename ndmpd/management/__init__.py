"""A running server and whoever runs it: the socket where it is asked, its answers, and its metrics."""
