"""Checks a token with PyJWT's own client of a key set."""

from plain.authorize import handler  # type: ignore[import-not-found]  # beside it on the path

__all__ = ["handler"]
