"""Everything the functions take from their environment: read once, checked whole, frozen (docs/design/settings.md)."""

import re
from collections.abc import Mapping
from os.path import isfile
from typing import Final

import msgspec

from core.environment import Reader, Secret, SecretFetcher, SecretUnavailableError, SettingsError, shown
from core.schedule import Schedule, crontab_of
from core.variables import SECRETS, VARIABLES, Variable

__all__ = [
    "LML_REFRESH_BATCH_CAP",
    "SECRETS",
    "VARIABLES",
    "Database",
    "DeadLetterSettings",
    "FanOutSettings",
    "Lml",
    "Pacing",
    "RefreshSettings",
    "Secret",
    "SecretFetcher",
    "SecretUnavailableError",
    "Sentry",
    "SettingsError",
    "SettingsReader",
    "Variable",
    "dead_letter",
    "fan_out",
    "refresh",
]

LML_REFRESH_BATCH_CAP: Final = 50  # ids LML takes in one request; here: core.lml.client costs an HTTP client
FASTEST_PACE: Final = 30  # calls a minute: half of what Discogs allows everybody who uses the station's token


_DEFAULTS: Final = {variable.name: variable.default for variable in VARIABLES}


class Database(msgspec.Struct, frozen=True, kw_only=True):
    host: str
    port: int
    name: str
    username: str
    password: Secret
    tls: str
    statement_timeout_ms: int
    schema: str


class Sentry(msgspec.Struct, frozen=True, kw_only=True):
    dsn: Secret
    release: str | None
    environment: str
    traces_sample_rate: float
    schedule: Schedule | None = None
    """The configuration that check-ins send to the cron monitor; None leaves the monitor as it is."""


class Lml(msgspec.Struct, frozen=True, kw_only=True):
    url: str
    api_key: Secret


class Pacing(msgspec.Struct, frozen=True, kw_only=True):
    """Discogs calls a minute, and ids a request."""

    budget: int = int(_DEFAULTS["DISCOGS_BUDGET_PER_MINUTE"] or 0)
    slice_max: int = int(_DEFAULTS["REFRESH_SLICE_MAX"] or 0)


class FanOutSettings(msgspec.Struct, frozen=True, kw_only=True):
    local_dev: bool
    clock_speed: float
    ledger_table: str
    refresh_queue_url: str
    batch_size: int
    lml: Lml
    github_token: Secret
    database: Database
    sentry: Sentry
    pacing: Pacing


class RefreshSettings(msgspec.Struct, frozen=True, kw_only=True):
    local_dev: bool
    clock_speed: float
    ledger_table: str
    refresh_queue_url: str
    parked_queue_url: str
    lml: Lml
    sentry: Sentry
    pacing: Pacing
    max_attempts: int
    max_error_percent: int


class DeadLetterSettings(msgspec.Struct, frozen=True, kw_only=True):
    local_dev: bool
    clock_speed: float
    ledger_table: str
    refresh_queue_url: str
    parked_queue_url: str
    sentry: Sentry
    max_error_percent: int


def fan_out(environ: Mapping[str, str], fetch: SecretFetcher) -> FanOutSettings:
    """Build the fan-out function's settings; raises SettingsError with every problem."""
    read = SettingsReader(environ, fetch)
    batch_size = read.batch_size()
    return read.checked(
        FanOutSettings(
            local_dev=read.local_dev,
            clock_speed=read.clock_speed(),
            ledger_table=read.text("LEDGER_TABLE"),
            refresh_queue_url=read.text("REFRESH_QUEUE_URL"),
            batch_size=batch_size,
            lml=read.lml(),
            github_token=read.secret("GITHUB_TOKEN"),
            database=read.database(),
            sentry=read.sentry(),
            pacing=read.pacing(batch_size),
        )
    )


def refresh(environ: Mapping[str, str], fetch: SecretFetcher) -> RefreshSettings:
    """Build the refresh function's settings; raises SettingsError with every problem."""
    read = SettingsReader(environ, fetch)
    return read.checked(
        RefreshSettings(
            local_dev=read.local_dev,
            clock_speed=read.clock_speed(),
            ledger_table=read.text("LEDGER_TABLE"),
            refresh_queue_url=read.text("REFRESH_QUEUE_URL"),
            parked_queue_url=read.text("PARKED_QUEUE_URL"),
            lml=read.lml(),
            sentry=read.sentry(),
            pacing=read.pacing(read.batch_size()),
            max_attempts=read.integer("REFRESH_MAX_ATTEMPTS", 1, 100),
            max_error_percent=read.integer("MAX_ERROR_PERCENT", 0, 100),
        )
    )


def dead_letter(environ: Mapping[str, str], fetch: SecretFetcher) -> DeadLetterSettings:
    """Build the dead-letter function's settings, which needs no LML; raises SettingsError with every problem."""
    read = SettingsReader(environ, fetch)
    return read.checked(
        DeadLetterSettings(
            local_dev=read.local_dev,
            clock_speed=read.clock_speed(),
            ledger_table=read.text("LEDGER_TABLE"),
            refresh_queue_url=read.text("REFRESH_QUEUE_URL"),
            parked_queue_url=read.text("PARKED_QUEUE_URL"),
            sentry=read.sentry(),
            max_error_percent=read.integer("MAX_ERROR_PERCENT", 0, 100),
        )
    )


class SettingsReader(Reader):
    """Knows which variables belong together, and their limits."""

    def __init__(self, environ: Mapping[str, str], fetch: SecretFetcher) -> None:
        super().__init__(environ, _DEFAULTS, fetch)

    def clock_speed(self) -> float:
        value = self.text("CLOCK_SPEED")
        if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", value) or float(value) == 0:
            self.problem("CLOCK_SPEED", f"is {shown(value)}; it must be a number above 0, such as 100 or 0.5")
            return 1.0
        if float(value) != 1 and not self.local_dev:
            self.problem(
                "CLOCK_SPEED",
                f"is {value}; only LOCAL_DEV=1 may set it, as LML would get {value} times the budget: leave it out",
            )
        return float(value)

    def batch_size(self) -> int:
        cap = LML_REFRESH_BATCH_CAP
        return self.integer(
            "BACKFILL_LML_BATCH_SIZE", 1, cap, f": LML refuses a request of more than {cap} ids (LML_REFRESH_BATCH_CAP)"
        )

    def pacing(self, batch_size: int) -> Pacing:
        budget = self.integer(
            "DISCOGS_BUDGET_PER_MINUTE",
            1,
            FASTEST_PACE,
            ": at 57 calls a minute, whoever made them, LML's breaker sheds DJs",
        )
        slice_max = self.integer("REFRESH_SLICE_MAX", 1, LML_REFRESH_BATCH_CAP)
        if slice_max > batch_size and self.is_set("REFRESH_SLICE_MAX"):
            self.problem(
                "REFRESH_SLICE_MAX",
                f"is {slice_max}, more than BACKFILL_LML_BATCH_SIZE, which is {batch_size}: lower it",
            )
        return Pacing(budget=budget, slice_max=min(slice_max, batch_size))

    def lml(self) -> Lml:
        url = self.address("LIBRARY_METADATA_URL").removesuffix("/api/v1").rstrip("/")
        api_key = self.secret("LML_API_KEY")
        if api_key.is_unset and not self.local_dev:
            self.problem(
                "LML_API_KEY",
                "or LML_API_KEY_SECRET_ARN is required (unless LOCAL_DEV=1); set one of them",
            )
        return Lml(url=url, api_key=api_key)

    def database(self) -> Database:
        schema = self.text("WXYC_SCHEMA_NAME")
        if len(schema.encode(errors="replace")) > 63:
            self.problem("WXYC_SCHEMA_NAME", "is longer than the 63 bytes of a PostgreSQL name: give its real name")
        return Database(
            host=self.text("DB_HOST"),
            port=self.integer("DB_PORT", 1, 65_535),
            name=self.text("DB_NAME"),
            username=self.text("DB_USERNAME"),
            password=self.secret("DB_PASSWORD"),
            tls=self._tls(),
            statement_timeout_ms=self.integer("DB_STATEMENT_TIMEOUT_MS", 1, 900_000, " (0 would be no limit)"),
            schema=schema,
        )

    def sentry(self) -> Sentry:
        return Sentry(
            dsn=self.secret("SENTRY_DSN"),
            release=self.optional("SENTRY_RELEASE"),
            environment=self.text("SENTRY_ENVIRONMENT"),
            traces_sample_rate=_sample_rate(self.text("SENTRY_TRACES_SAMPLE_RATE")),
            schedule=self.schedule(),
        )

    def schedule(self) -> Schedule | None:
        expression = self.optional("SCHEDULE_CRONTAB")
        if expression is None:
            return None
        try:
            return Schedule(crontab_of(expression), self.text("SCHEDULE_TIME_ZONE"))
        except ValueError as error:
            self.problem("SCHEDULE_CRONTAB", f"is {shown(expression)}: {error}")
            return None

    def _tls(self) -> str:
        tls = self.text("DB_TLS")
        if tls == "disable" and not self.local_dev:
            self.problem("DB_TLS", "is disable, which only LOCAL_DEV=1 allows: set verify")
        elif tls not in {"disable", "verify"} and not isfile(tls):  # noqa: PTH113 - Path.is_file() raises for an overlong name
            self.problem("DB_TLS", f"is {shown(tls)}; it must be verify, disable, or the path of a PEM file")
        return tls


def _sample_rate(value: str) -> float:
    """Return a rate in 0..1; a wrong one must not cost the run its telemetry, so 1.0 (docs/design/telemetry.md)."""
    try:
        rate = float(value)
    except ValueError:
        return 1.0
    return rate if 0 <= rate <= 1 else 1.0
