"""Trees of files to back up, and how two trees are compared."""
