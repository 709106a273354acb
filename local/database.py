"""Where the tables of a cloud are; what makes and fills them is `local.postgres`."""

from dataclasses import dataclass
from urllib.parse import quote


@dataclass(frozen=True, slots=True, kw_only=True)
class Postgres:
    """A database with the backend's tables. `user` is what the functions connect as, `owner` what loads the rows."""

    host: str
    port: int
    database: str
    schema: str
    tls: str  # the value of DB_TLS
    user: str
    password: str
    owner: str
    owner_password: str
    home: str | None  # of the embedded server; None: the database is somebody else's
    binaries: str | None
    options: str = ""  # of a borrowed database's URL: for our own connections, the functions' have none
    mark: str = ""  # the comment on a borrowed database's schema, by which it is known to be ours

    @property
    def borrowed(self) -> str:
        """Where the tables are if the server is not ours, for a sentence."""
        where = f"{self.host}:{self.port}/{self.database}"
        options = "; its options are for our own connections, the functions have none" if self.options else ""
        return "" if self.home else f", in schema {self.schema} of DATABASE_URL's {where}{options}"

    @property
    def socket(self) -> str | None:
        """The socket's path, where the host is its directory."""
        return f"{self.host}/.s.PGSQL.{self.port}" if self.host.startswith("/") else None

    @property
    def url(self) -> str:
        """Where a connection is taken, without a user: as `local.health` looks there."""
        if self.socket is not None:
            return f"unix:{quote(self.socket)}"
        return f"postgresql://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def environment(self) -> dict[str, str]:
        """Return the database settings of the functions (docs/design/settings.md)."""
        return {
            "DB_HOST": self.host,
            "DB_PORT": str(self.port),
            "DB_NAME": self.database,
            "DB_USERNAME": self.user,
            "DB_PASSWORD": self.password,
            "DB_TLS": self.tls,
            "WXYC_SCHEMA_NAME": self.schema,
        }
