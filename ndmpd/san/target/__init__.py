"""The units of the embedded SAN as iSCSI targets. RFC 7143, error recovery level 0.

The reactor accepts connections; each then has two threads of its own, one that hears the initiator and one
that carries commands out, so that bulk data goes from file to socket and back without passing through the
reactor. ``Portal`` is the way in.
"""
