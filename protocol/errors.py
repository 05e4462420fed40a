"""The one error that wire formats raise."""


class WireError(ValueError):
    """The peer (or the medium) sent bytes that are not what the format allows.

    Decoders raise nothing else, whatever they are fed.
    """
