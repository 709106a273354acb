"""An internal extension of Lambda: keeps an environment awake after its answer, until what goes on has ended.

Lambda freezes an environment once the runtime and every extension have asked for the next event. This one asks only
when nothing is under way any more; the caller has the answer long before (AWS: "Lambda Extensions API").
"""

import http.client
import json
import threading
import time
from collections.abc import Callable
from typing import Final

_PATH: Final = "/2020-01-01/extension"
_NAME: Final = "keeps-answers"
_MARGIN: Final = 2.0
"""Seconds before the function's time-out: what is cut off there counts as an error, and costs the environment."""
_INIT_SECONDS: Final = 2.0


class Afterwards:
    """Wrap each invocation in it; `wait` waits for what goes on, for so many seconds at most.

    It has to be made while the environment starts, since Lambda takes no extension later. Where there is no such
    API, or it takes none, nothing is kept awake: what goes on is frozen with the environment, and thaws with it. `warn`
    gets the reason, but no call at the end of the environment.
    """

    def __init__(
        self, api: str | None, wait: Callable[[float], object], warn: Callable[[str], object] = lambda _: None
    ) -> None:
        self._wait = wait
        self._warn = warn
        self._answered = threading.Event()
        identifier = self._registered(api) if api else None
        if api and identifier:
            name = "lambda-extension"
            threading.Thread(target=self._run, args=(api, identifier), name=name, daemon=True).start()

    def __enter__(self) -> None:
        self._answered.clear()

    def __exit__(self, *_: object) -> None:
        self._answered.set()

    def _registered(self, api: str) -> str | None:
        connection = http.client.HTTPConnection(api, timeout=_INIT_SECONDS)
        try:
            headers = {"Lambda-Extension-Name": _NAME, "Content-Type": "application/json"}
            connection.request("POST", f"{_PATH}/register", json.dumps({"events": ["INVOKE"]}), headers)
            answer = connection.getresponse()
            answer.read()
            identifier = answer.headers.get("Lambda-Extension-Identifier")
        except (OSError, http.client.HTTPException) as error:
            self._warn(f"{type(error).__name__}: {error}")
            return None
        finally:
            connection.close()
        if answer.status != http.client.OK or not identifier:
            self._warn(f"the Extensions API answered {answer.status}")
            return None
        return identifier

    def _run(self, api: str, identifier: str) -> None:
        try:
            connection = http.client.HTTPConnection(api)
            while True:
                connection.request("GET", f"{_PATH}/event/next", headers={"Lambda-Extension-Identifier": identifier})
                answer = connection.getresponse()
                event = json.loads(answer.read())
                left = event["deadlineMs"] / 1000 - time.time() - _MARGIN
                began = time.monotonic()
                if self._answered.wait(max(0.0, left)):
                    self._answered.clear()
                    self._wait(max(0.0, left - (time.monotonic() - began)))
        except (OSError, http.client.HTTPException):
            pass  # the environment ends
        except (ValueError, KeyError) as error:
            self._warn(f"no event of the Extensions API: {type(error).__name__}: {error}")
