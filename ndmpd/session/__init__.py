"""What one control connection may do. Pure: no clock, file, socket, log or reactor in here."""
