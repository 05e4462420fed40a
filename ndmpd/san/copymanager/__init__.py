"""The embedded copy manager: EXTENDED COPY and RECEIVE COPY RESULTS for every unit of the SAN.

One process of the SAN carries the copies out (``server``), by commands to the SAN's own units in the name of
the nexus that sent the EXTENDED COPY. Whoever sends one reaches that process through ``link``.
"""
