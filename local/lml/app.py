"""The stand-in as an ASGI app: LML's routes, and the stand-in's own under `/_`."""

from typing import Final

from starlette.applications import Starlette
from starlette.routing import Route

from local.lml import control
from local.lml.limits import Limits, LmlClock
from local.lml.picker import PickerRoutes
from local.lml.service import StandIn
from local.world import World

REFRESH_PATH: Final = "/api/v1/cache/refresh-for-identities"
GATE_COMMIT: Final = "8a1344c0ffee5eed1e55d15c0de5eed5caffe1ab"  # begins with the gate commit of docs/design/lml.md


def build(
    world: World,
    *,
    speed: float = 1,
    token: str | None = None,
    limits: Limits | None = None,
    commit_sha: str | None = GATE_COMMIT,
    clock: LmlClock | None = None,
) -> Starlette:
    """Return a fresh LML process that knows this world; without a token everybody is let in.

    Its time is the machine's, times `speed`, unless a `clock` is given.
    """
    lml = StandIn(world, clock or LmlClock(speed), limits or Limits(), token, commit_sha)
    lml_routes = [Route(REFRESH_PATH, lml.refresh, methods=["POST"]), Route("/health", lml.health)]
    return Starlette(routes=[*lml_routes, *PickerRoutes(lml, world).routes(), *control.routes(lml)])
