"""Butypes: each yields pieces for a backup and takes a stream apart for a recover."""
