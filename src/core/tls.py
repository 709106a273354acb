"""The public certificate authorities, read once a process: that takes longer than a request does."""

import ssl
from functools import cache

import certifi


@cache
def context() -> ssl.SSLContext:
    """Return what clients verify servers with; shared, so nobody may change it. The environment is not read."""
    return ssl.create_default_context(cafile=certifi.where())
