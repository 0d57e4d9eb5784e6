"""What every service function is given: the database, the bus, the agents' hub, the keys and the settings."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from agents.hub import Hub
from services.activity import ActivityBook
from services.bus import Bus
from services.db.engine import Database
from services.keys import Keys
from services.metrics import Metrics
from services.options import OptionBook
from services.progress import ProgressBook
from services.ratelimits import LocalCounters, RateCounters, RedisCounters
from services.redis_bus import RedisBus
from services.refusals import RefusalBook
from services.standings import StandingBook
from services.stats import StatsBook
from services.together import Together
from services.usage.meters import MeterBook
from services.uses import UseBook


@dataclass(frozen=True)
class Settings:
    """Constants that services decide by; what an administrator sets is in `Core.options`. Times of the lease: RELIABILITY by the field's practice (Kubernetes: 10 s, 40 s)."""

    access_token_life: timedelta = timedelta(minutes=10)
    login_life: timedelta = timedelta(days=14)
    #: For so long the refresh token before the current one is still honoured: its reply may have been lost.
    refresh_grace: timedelta = timedelta(seconds=10)
    ticket_life: timedelta = timedelta(seconds=30)
    password_ticket_life: timedelta = timedelta(hours=24)
    #: Of links that are mailed to whom asks: to choose a password, to verify an address.
    reset_ticket_life: timedelta = timedelta(hours=2)
    join_token_life: timedelta = timedelta(hours=1)
    #: A signed request's clock may differ by this much.
    clock_skew: timedelta = timedelta(seconds=30)
    #: A cached check of a user's standing is believed for so long.
    standing_life: timedelta = timedelta(seconds=2)
    heartbeat: timedelta = timedelta(seconds=10)
    lease: timedelta = timedelta(seconds=40)
    stats_interval: timedelta = timedelta(seconds=2)
    #: For so long plug-ins of others may think about one resource group.
    plan_limit: timedelta = timedelta(seconds=5)
    #: Deadline of each phase of a session's life, by status.
    phase_deadlines: dict[str, timedelta] = field(
        default_factory=lambda: {
            "SCHEDULED": timedelta(seconds=60),
            "PREPARING": timedelta(seconds=120),
            "PULLING": timedelta(minutes=30),
            "PREPARED": timedelta(seconds=60),
            "CREATING": timedelta(seconds=120),
            "TERMINATING": timedelta(seconds=120),
        }
    )
    #: Where the console is reached; links are made from it. Never from a request's headers.
    public_url: str = "http://127.0.0.1:8080"


@dataclass
class Core:
    db: Database
    bus: Bus
    hub: Hub
    keys: Keys
    stats: StatsBook
    progress: ProgressBook
    settings: Settings = field(default_factory=Settings)
    #: Names this process among several managers; new with each start.
    manager_id: str = "manager"
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    standings: StandingBook = field(default_factory=StandingBook)
    meters: MeterBook = field(default_factory=MeterBook)
    uses: UseBook = field(default_factory=UseBook)
    metrics: Metrics = field(default_factory=Metrics)
    #: What an administrator sets: `core.options.value(services.options.SIGN_UP_MODE)`.
    options: OptionBook = field(default_factory=OptionBook)
    refusals: RefusalBook = field(default_factory=RefusalBook)
    activity: ActivityBook = field(default_factory=ActivityBook)
    #: What is done together with whatever else is asked for at the same time, by name.
    rounds: dict[str, Together[Any, Any]] = field(default_factory=dict[str, Together[Any, Any]])
    rates: RateCounters = field(init=False)

    def __post_init__(self) -> None:
        self.rates = (
            RedisCounters(self.bus.client, self.bus.managers)
            if isinstance(self.bus, RedisBus)
            else LocalCounters()
        )
