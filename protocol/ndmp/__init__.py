"""NDMP v3 and v4 messages: one module per interface, the two forms side by side."""
