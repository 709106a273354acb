"""The base of the errors of both LML clients."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

NoReplyCause: TypeAlias = Literal["timeout", "connection", "malformed"]
Cause: TypeAlias = NoReplyCause | Literal["status"]
"""Why a request has no usable answer: no complete reply, a status of trouble, or a body of another shape."""


@dataclass(eq=False)
class LmlError(Exception):
    """A request to LML without a usable answer."""

    request: str
    """Method and address."""
    cause: Cause
    detail: str
    """What went wrong, or the head of the body; one line."""

    def __str__(self) -> str:
        return f"{self.request}: {self.detail}"
