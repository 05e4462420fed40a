"""iSCSI: PDUs, login keys, CHAP, digests. RFC 7143. Wire formats only."""
