"""The settings of every service: variable, default, unit and reason; a service adds its own."""

from typing import ClassVar, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from servekit.configuration.forms import (
    Folder,
    HeaderToken,
    HostNames,
    ListenHost,
    ListenHosts,
    Origins,
    PathPrefixes,
    RedisUrlText,
    RootPath,
    SigningKeys,
)
from servekit.notation.http_url import BaseUrl
from servekit.notation.words import decode, split_keys

DEVELOPMENT_SECRET = "development-only-secret-never-use-in-production"  # noqa: S105 - refused in production
MOST = 1_000_000_000  # as seconds 31 years: clocks and sizes beyond it overflow somewhere


class Settings(BaseSettings):
    """Settings of a service, read from the environment and from `.env`; subclass it to add more.

    The environment name of a field is the field in capitals. Zero disables a limit, a timeout or a
    feature unless its text says otherwise.
    """

    model_config = SettingsConfigDict(
        allow_inf_nan=False,
        env_file=".env",
        env_file_encoding="utf-8-sig",  # with or without the mark that some editors put first
        enable_decoding=False,  # `decode` takes what people write, not JSON alone
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    @field_validator("*", mode="before")
    @classmethod
    def _decode(cls, given: object, info: ValidationInfo) -> object:
        return decode(given, cls.model_fields[info.field_name or ""])

    of_others: ClassVar[frozenset[str]] = frozenset()  # variables that others read from `.env`

    # Where it runs

    environment: Literal["development", "test", "production"] = "development"
    """`production` refuses to start with unsafe values; `development` starts its own Redis."""

    debug: bool = False
    """asyncio's debug mode, and `/docs` outside of development too; refused in production."""

    host: ListenHosts = "127.0.0.1"
    """Address of the public port, or several, comma-separated; `unix:/path` for a unix socket."""

    port: int = Field(default=8000, ge=1, le=65535)
    """The public port: the API, `/livez` and `/readyz`."""

    admin_host: ListenHost = "127.0.0.1"
    """Address of the admin port; but for loopback and `unix:/path` it needs ADMIN_TOKEN."""

    admin_port: int = Field(default=9100, ge=0, le=65535)
    """The admin port: metrics, workers, profiles. 0 switches it off."""

    admin_token: HeaderToken = SecretStr("")
    """Bearer token that the admin port asks for; may be empty on loopback only."""

    allowed_hosts: HostNames = ["localhost", "127.0.0.1", "[::1]"]
    """Host names that a request may carry, comma-separated; `*.example.com` allows subdomains."""

    trusted_proxy_hops: int = Field(default=0, ge=0, le=10)
    """Proxies in front that write X-Forwarded-*; entries count from the right. 0 trusts none."""

    root_path: RootPath = ""
    """Path under which a front shows the service, such as `/shop`; it may strip it or not."""

    cors_origins: Origins = []
    """Origins that a browser may call from, comma-separated; `*`: any, without cookies."""

    hsts_seconds: int = Field(default=63_072_000, ge=0, le=MOST)
    """Time for which production tells browsers to use HTTPS only. 0 leaves the header out."""

    hsts_subdomains: bool = True
    """Whether that holds for the hosts below this one too: then each needs a certificate."""

    # Workers

    workers: int = Field(default=0, ge=0, le=512)
    """Worker processes; 0 means one for every CPU that affinity and the cgroup quota allow."""

    worker_start_method: Literal["auto", "fork", "spawn"] = "auto"
    """`fork` shares the application's memory; `auto` is `spawn` on macOS, where that is unsafe."""

    worker_start_seconds: float = Field(default=60, ge=1, le=3600)
    """Time a new worker has to become ready; at a terminal in development an hour, unless set."""

    worker_hang_seconds: float = Field(default=10, ge=0, le=3600)
    """Silence of its loop after which a worker is replaced; not in development at a terminal."""

    worker_recycle_requests: int = Field(default=0, ge=0, le=MOST)
    """Requests after which a worker is replaced, with 10 % jitter; a net under slow leaks."""

    worker_recycle_rss_mib: int = Field(default=0, ge=0, le=MOST)
    """Resident memory in MiB above which a worker is replaced, after three samples in a row."""

    # State

    redis_url: RedisUrlText = SecretStr("")
    """`redis[s]://`, `redis[s]+sentinel://`, `redis[s]+cluster://`, `unix://`; empty: embedded."""

    redis_namespace: str = Field(default="", pattern=r"^[A-Za-z0-9._-]*$")
    """What every key in Redis begins with, so that services can share one; empty: our name."""

    secret_key: SigningKeys = SecretStr(DEVELOPMENT_SECRET)
    """Keys that sign session cookies, comma-separated: the first signs, all verify."""

    # Time limits

    timeout_request_seconds: float = Field(default=30, ge=0, le=3600)
    """Time for a handler to start its response; past it the handler is cancelled: 504."""

    timeout_keep_alive_seconds: float = Field(default=75, gt=0, le=3600)
    """Idle time of a connection; longer than the load balancer's (often 60 s), or it sees 502."""

    timeout_header_seconds: float = Field(default=10, gt=0, le=300)
    """Time for a client to send its request line and headers: 408."""

    timeout_body_seconds: float = Field(default=30, gt=0, le=3600)
    """Time between two pieces of a request body, and to read a response piece: 408 or closed."""

    drain_delay_seconds: float = Field(default=0, ge=0, le=300)
    """Time between SIGTERM and the last accepted connection; 5 behind Kubernetes endpoints."""

    timeout_drain_seconds: float = Field(default=20, ge=0, le=3600)
    """Time for requests in flight to finish after the delay; past it they are cancelled."""

    grace_period_seconds: float = Field(default=30, ge=0, le=3600)
    """Time the platform leaves between SIGTERM and SIGKILL; the drain must fit. 0: unchecked."""

    # Size limits

    limit_body_bytes: int = Field(default=1_048_576, ge=0, le=2**50)
    """Largest request body: 413. Routes that stream may set their own."""

    limit_message_bytes: int = Field(default=1_048_576, ge=0, le=2**50)
    """Largest WebSocket message that a client may send: closed with 1009."""

    limit_header_bytes: int = Field(default=32_768, ge=1024, le=MOST)
    """Largest header block: 431."""

    limit_header_count: int = Field(default=100, ge=8, le=MOST)
    """Most header fields: 431."""

    limit_uri_bytes: int = Field(default=8192, ge=256, le=MOST)
    """Longest request target: 414."""

    limit_connections: int = Field(default=1000, ge=1, le=MOST)
    """Open connections of a worker; further ones are left to its siblings and the backlog."""

    # Overload

    rate_limit_per_minute: int = Field(default=0, ge=0, le=MOST)
    """Requests a minute from one client address over all workers: 429."""

    pressure_loop_lag_ms: float = Field(default=70, ge=0, le=3_600_000)
    """Event-loop lag: work for four times as long may wait for a turn; beyond it is shed."""

    pressure_requests: int = Field(default=0, ge=0, le=MOST)
    """Requests in flight in a worker above which new ones are shed."""

    pressure_rss_mib: int = Field(default=0, ge=0, le=MOST)
    """Resident memory of a worker in MiB above which new requests are shed."""

    pressure_dry_run: bool = False
    """Count what would be shed, and serve it."""

    critical_paths: PathPrefixes = []
    """Path prefixes that overload refuses last, comma-separated; or `@critical` on a route."""

    sheddable_paths: PathPrefixes = []
    """Path prefixes that overload refuses first, comma-separated; or `@sheddable` on a route."""

    loop_stall_ms: float = Field(default=50, ge=0, le=3_600_000)
    """Stillness of the event loop after which the running request and its stack are logged."""

    # Redis

    redis_connections: int = Field(default=32, ge=1, le=10_000)
    """Connections of each pool in a worker; a caller waits at most its time limit for one."""

    redis_connection_age_seconds: float = Field(default=600, ge=0, le=MOST)
    """Age at which a connection is reopened, less up to a fifth: names are looked up again then."""

    timeout_redis_connect_ms: float = Field(default=250, gt=0, le=600_000)
    """Time to open a connection."""

    timeout_cache_ms: float = Field(default=100, gt=0, le=600_000)
    """Time for a cache command, one try; past it the cache counts as absent."""

    timeout_session_ms: float = Field(default=250, gt=0, le=600_000)
    """Time for a session command, with one retry; past it routes that need a login answer 503."""

    # Cache

    cache_enabled: bool = True
    """Off sends every read to its source: for capacity tests."""

    cache_local_mib: int = Field(default=32, ge=0, le=MOST)
    """Memory of a worker's local tier in MiB; 0 leaves Redis as the only tier."""

    cache_warm_seconds: float = Field(default=5, ge=0, le=3600)
    """Time for warming caches before a worker is ready; the rest loads on demand."""

    timeout_load_seconds: float = Field(default=30, ge=0, le=3600)
    """Time for one load of a cached function; past it: what is stale, or 504. 0: no limit."""

    # Sessions

    session_idle_seconds: int = Field(default=1800, ge=60, le=MOST)
    """A session ends after this time without a request."""

    session_absolute_seconds: int = Field(default=43_200, ge=60, le=MOST)
    """A session ends this long after login, used or not."""

    session_limit_per_user: int = Field(default=10, ge=0, le=MOST)
    """Concurrent sessions of one user; the oldest is ended by a further login."""

    session_clear_site_data: list[Literal["cache", "cookies", "storage", "executionContexts"]] = []
    """What a logout clears beside its cookie; `cookies` are those of all hosts of the domain."""

    session_local_mib: int = Field(default=8, ge=0, le=MOST)
    """Memory of a worker's own, coherent copies of sessions in MiB; 0 reads Redis every time."""

    # Work off the loop

    offload_threads: int = Field(default=16, ge=1, le=1000)
    """Threads of a worker for blocking calls."""

    offload_processes: int = Field(default=0, ge=0, le=512)
    """Processes of a worker for CPU work; 0 shares the usable CPUs among the workers."""

    offload_queue: int = Field(default=0, ge=0, le=MOST)
    """Calls that may wait for a place in a pool; 0 means half the pool, at least 8. Full: 503."""

    offload_recycle_rss_mib: int = Field(default=0, ge=0, le=MOST)
    """Resident memory in MiB above which an offload process is replaced after its call."""

    timeout_offload_seconds: float = Field(default=30, gt=0, le=MOST)
    """Time for one offloaded call, waiting included; past it a process is killed: 504."""

    # Upstreams

    upstream_connections: int = Field(default=32, ge=1, le=10_000)
    """Calls of a worker to one upstream that may be under way at once; further ones wait."""

    timeout_upstream_seconds: float = Field(default=5, gt=0, le=3600)
    """Time for one call, waiting and a retry included; less where the request has less left."""

    # Logs and telemetry

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe level that is written."""

    log_format: Literal["auto", "json", "console"] = "auto"
    """`auto` writes readable lines on a terminal and JSON elsewhere."""

    profile_files: int = Field(default=10, ge=0, le=10_000)
    """Profiles kept of minutes in which a worker was late or busy, of all workers; 0 takes none."""

    profile_folder: Folder = ""
    """Where they are kept; empty: a folder of the service's in the system's temporary one."""

    otel_exporter_otlp_endpoint: BaseUrl = ""
    """Collector for OpenTelemetry traces; empty keeps tracing off and off the hot path."""

    @property
    def secret_keys(self) -> list[str]:  # newest first
        return split_keys(self.secret_key.get_secret_value())

    @property
    def development(self) -> bool:
        return self.environment == "development"

    @property
    def serves_docs(self) -> bool:
        """Whether there is interactive documentation: in development, and with DEBUG."""
        return self.development or self.debug

    @property
    def production(self) -> bool:
        return self.environment == "production"
