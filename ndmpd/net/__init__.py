"""Control connections on Twisted, data connections, the local channel between processes."""
