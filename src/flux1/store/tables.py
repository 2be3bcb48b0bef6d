"""The tables. A change here needs a migration in `migrations/versions`; a test compares the two."""

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy import Text as PlainText

METADATA = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)


class Text(TypeDecorator[str]):
    """Any str. PostgreSQL holds no NUL and UTF-8 no lone surrogate: both become U+FFFD."""

    impl = PlainText
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None:
            return None
        return "".join("\ufffd" if c == "\0" or "\ud800" <= c <= "\udfff" else c for c in value)


class UtcDateTime(TypeDecorator[datetime]):
    """A point in time: aware, and UTC when it comes back. A naive datetime is refused."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is not None and value.tzinfo is None:  # SQLite keeps no zone; UTC went in
            return value.replace(tzinfo=UTC)
        return value and value.astimezone(UTC)


ACCOUNTS = Table(
    "accounts",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("email", Text, nullable=False, unique=True),
    Column("password_hash", Text, nullable=False),
    Column("administrator", Boolean, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("weight", Float, nullable=False),
    Column("created", UtcDateTime, nullable=False),
)

SESSIONS = Table(
    "sessions",
    METADATA,
    Column("token_hash", Text, primary_key=True),
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False, index=True),
    Column("created", UtcDateTime, nullable=False),
    Column("expires", UtcDateTime, nullable=False),
)

KEYS = Table(
    "keys",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("prefix", Text, nullable=False),
    Column("secret_hash", Text, nullable=False, unique=True),
    Column("scopes", Text, nullable=False),
    Column("requests_per_minute", Integer),
    Column("concurrency", Integer),
    Column("images_per_day", Integer),
    Column("megapixels_per_day", Float),
    Column("tolerance", Integer),
    Column("created", UtcDateTime, nullable=False),
    Column("expires", UtcDateTime),
    Column("revoked", UtcDateTime),
    Column("last_used", UtcDateTime),
)

JOBS = Table(
    "jobs",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False),
    Column("key_id", Text, ForeignKey("keys.id")),
    Column("api", Text, nullable=False),
    Column("asynchronous", Boolean, nullable=False),
    Column("status", Text, nullable=False, index=True),
    Column("asked_model", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("model_hash", Text, nullable=False),
    Column("prompt", Text, nullable=False),
    Column("parameters", JSON, nullable=False),
    Column("output", JSON, nullable=False),
    Column("request_id", Text, nullable=False, index=True),
    Column("idempotency_key", Text),
    Column("body_hash", Text, nullable=False),
    Column("safety", JSON, nullable=False),
    Column("timings", JSON, nullable=False),
    Column("error_code", Text),
    Column("error_message", Text),
    Column("webhook_url", Text),
    Column("webhook_secret", Text),
    Column("images", Integer, nullable=False, server_default="0"),
    Column("pixels", BigInteger, nullable=False, server_default="0"),
    Column("created", UtcDateTime, nullable=False),
    Column("started", UtcDateTime),
    Column("finished", UtcDateTime),
    UniqueConstraint("account_id", "idempotency_key"),
    Index(None, "account_id", "created", "id"),
    Index(None, "created", "id"),
)

PICTURES = Table(
    "pictures",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("job_id", Text, ForeignKey("jobs.id"), nullable=False, index=True),
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False),
    Column("index", Integer, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("media_type", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("created", UtcDateTime, nullable=False),
    Column("expires", UtcDateTime, index=True),
    Column("erased", UtcDateTime),
    Index(None, "account_id", "created", "id"),
)

# One row per request that ended with pictures: written with its status, never changed.
USAGE = Table(
    "usage",
    METADATA,
    Column("job_id", Text, ForeignKey("jobs.id"), primary_key=True),
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False),
    Column("key_id", Text, ForeignKey("keys.id")),
    Column("finished", UtcDateTime, nullable=False),
    Column("day", Date, nullable=False),
    Column("images", Integer, nullable=False),
    Column("pixels", BigInteger, nullable=False),
    Index(None, "account_id", "day"),
    Index(None, "key_id", "day"),
    Index(None, "finished", "job_id"),
)

DELIVERIES = Table(
    "deliveries",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("job_id", Text, ForeignKey("jobs.id"), nullable=False, index=True),
    Column("url", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Column("created", UtcDateTime, nullable=False),
    Column("next_attempt", UtcDateTime, index=True),
)

ATTEMPTS = Table(
    "attempts",
    METADATA,
    Column("delivery_id", Text, ForeignKey("deliveries.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("time", UtcDateTime, nullable=False),
    Column("status_code", Integer),
    Column("error", Text),
)
