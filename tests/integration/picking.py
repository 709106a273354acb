"""A picker to ask: a real PostgreSQL, the stand-in LML, a clock that costs no time; and rows as a test wants them."""

import json
from base64 import b64decode
from datetime import timedelta

from pg8000 import native

from core import settings
from core.aws.table import Table
from core.picker.limiter import Limiter, OwnMeter
from core.picker.lookup import LookupClient
from core.picker.resolver import Resolver
from core.picker.rows import Rows
from core.picker.shared import SharedAnswers, SharedMeter, SharedTurns
from core.picker.tracks import Pick, ReleaseTracks
from core.picker.warm import Warmer
from tests.integration import build
from tests.integration.build import KEY, TABLE, database_of, secret, telemetry
from tests.virtual import VirtualClock

DIRECT = {
    "search_type": "direct",
    "timeout": False,
    "degraded": False,
    "degraded_reason": None,
    "results": [{"artwork": {"release_id": 77, "tracklist": []}}],
}
RELEASE = {
    "artist": "The Ledgers",
    "tracklist": [{"position": "A1", "title": "Opening Balance", "duration": "3:05", "artists": None}],
}


def lost(release_id):
    """LML's own 404 for a release, as a fault."""
    return {"status": 404, "body": json.dumps({"detail": f"Release {release_id} not found"})}


class StandIn(build.StandIn):
    """The stand-in LML, and the lookups and release fetches that it saw."""

    def answers(self, path, fields=None, *, times=None, **fault):
        """Answer requests of a path so, until told otherwise: `fields` of a 200, or a fault of `local.lml.faults`."""
        given = {"fields": fields} if fields is not None else {}
        self.fault(path=path, times=times, **given, **fault)

    def asked(self, path=None):
        """The requests so far, in their order."""
        return [call for call in self.http.get("/_asked").json() if path in {None, call["path"]}]

    def bodies(self):
        """What the lookups so far sent."""
        return [json.loads(b64decode(call["body"])) for call in self.asked("lookup")]

    def held(self):
        return self.http.get("/_stats").json()["held"]

    def let_go(self):
        self.http.post("/_release").raise_for_status()


class Station:
    """The backend's tables, empty at first."""

    def __init__(self, server):
        self.settings = database_of(server)
        self.environment = server.environment()
        self._owner = native.Connection(
            server.owner,
            password=server.owner_password,
            host=server.host,
            port=server.port,
            database=server.database,
        )
        self._owner.run(f"SET search_path TO {native.identifier(server.schema)}")

    def run(self, sql, **params):
        """Run a statement as the tables' owner."""
        return self._owner.run(sql, **params)

    def close(self):
        self._owner.close()

    def empty(self):
        self.run("TRUNCATE rotation, library_identity, flowsheet RESTART IDENTITY")

    def row(self, *, artist="The Ledgers", album="Double Entry", release=None, library=None, killed=None, marked=None):
        """Insert a row and return its id; `library` is the release that library_identity has, `killed` days from now.

        Without a release and a library this is a row of the third tier.
        """
        album_id = self.run("SELECT count(*) + 1 FROM rotation")[0][0]
        if library is not None:
            self.run("INSERT INTO library_identity VALUES (:album, :release)", album=album_id, release=library)
        return self.run(
            "INSERT INTO rotation (album_id, rotation_bin, artist_name, album_title, discogs_release_id, kill_date, "
            "tracklist_lookup_attempted_at) VALUES (:album_id, 'H', :artist, :album, :release, "
            "CURRENT_DATE + cast(:killed AS integer), :marked) RETURNING id",
            album_id=album_id,
            artist=artist,
            album=album,
            release=release,
            killed=killed,
            marked=marked,
        )[0][0]

    def marker(self, rotation_id):
        return self.run("SELECT tracklist_lookup_attempted_at FROM rotation WHERE id = :id", id=rotation_id)[0][0]

    def play(self, at, entry_type="track"):
        """Log an entry of the flowsheet."""
        self.run(
            "INSERT INTO flowsheet (entry_type, add_time) VALUES (cast(:type AS flowsheet_entry_type), :at)",
            type=entry_type,
            at=at,
        )

    def hang_up(self):
        """End every connection of the picker, as a restart of the server does."""
        self.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'rotation-artist-backfill' AND datname = current_database()"
        )


class Picker:
    """A process or an environment of the picker: its own memory, and with a table the level that others share."""

    def __init__(self, station, lml, clock=None, *, dynamodb=None, table=TABLE, sentry=None, **walk):
        self.clock = clock or VirtualClock()
        self.warned = []
        self.telemetry = telemetry(sentry)
        shared = dynamodb and Table(dynamodb, table, self.clock.sleep)
        self.limiter = Limiter(SharedMeter(shared) if shared else OwnMeter(), self.clock)
        self.resolver = Resolver(
            Rows(station.settings, self.clock),
            LookupClient(settings.Lml(url=lml.url, api_key=secret("LML_API_KEY", KEY)), self.clock),
            self.limiter,
            self.clock,
            self.warned.append,
            shared_picks=shared and SharedAnswers(shared, "PICK", Pick, self.clock, self.warned.append),
            shared_releases=shared and SharedAnswers(shared, "RELEASE", ReleaseTracks, self.clock, self.warned.append),
            shared_turns=shared and SharedTurns(shared, self.clock, self.warned.append),
        )
        self.warmer = Warmer(self.resolver, self.clock, self.telemetry, **{"live_lookback": 60, **walk})

    def later(self, **how):
        self.clock.advance(timedelta(**how).total_seconds())

    def close(self):
        self.resolver.close()
