"""ndmpd: an NDMP data server and mover for Linux filers."""
