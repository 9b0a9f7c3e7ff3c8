"""The configuration: read once from YAML, strict, immutable, hashed. Nothing rewrites it.

Three files in one folder: ``app.yaml`` (venue, process, supervision), ``policy.yaml`` (capital, limits, orders,
strategy) and ``universe.yaml`` (instruments). Secrets never stand in them: they come from files named there or
from the environment.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import orjson
import yaml
from pydantic import Field, ValidationError, model_validator

from config.sections.alerts import AlertSettings
from config.sections.app import LogSettings, MetricsSettings, SentrySettings
from config.sections.base import Section
from config.sections.feed import FeedSettings
from config.sections.gateway import GatewaySettings
from config.sections.guard import GuardSettings
from config.sections.orders import OrderSettings
from config.sections.reconciler import ReconcilerSettings
from config.sections.risk import CapitalSettings, RiskSettings
from config.sections.silence import WORKERS, check_names, check_silence
from config.sections.strategist import StrategistSettings
from config.sections.venue import VenueSettings
from config.sections.watchdog import SupervisionSettings, WatchdogSettings

UNKNOWN_MARGIN_S = 20.0
"""The proof that a lost order is absent takes this much beyond the token's life and the visibility delay: it is lost
only after ``orders.submit_timeout_s``, a living gateway may send until then, and two listings have to be asked for."""

Mode = Literal["demo", "dry_run", "paper", "live"]
DEFAULT_FOLDER = Path(__file__).parent
FILES: Mapping[str, tuple[str, ...]] = {
    "app.yaml": ("venue", "log", "metrics", "sentry", "alerts", "feed", "gateway", "watchdog", "supervision"),
    "policy.yaml": ("capital", "risk", "guard", "orders", "strategist", "reconciler"),
    "universe.yaml": ("instruments",),
}


class ConfigError(Exception):
    """The configuration cannot be used; the text names file, key and value and says what would be right."""


class InstrumentSettings(Section):
    """symbol: the order product. data: the product its book and feed are (default: itself)."""

    symbol: str = Field(pattern=r"^[A-Z0-9]{1,20}-[A-Z0-9]{1,20}$")
    data: str | None = Field(default=None, pattern=r"^[A-Z0-9]{1,20}-[A-Z0-9]{1,20}$")

    @property
    def data_product(self) -> str:
        return self.data or self.symbol

    @property
    def base(self) -> str:
        return self.symbol.split("-")[0]

    @property
    def quote(self) -> str:
        return self.symbol.split("-")[1]


class Settings(Section):
    """Everything, as the actors see it. ``config_hash`` stamps events; ``build`` is the code's version."""

    mode: Mode = "demo"
    data_dir: Path
    epoch: int = 0
    config_hash: str = ""
    build: str = ""
    instruments: tuple[InstrumentSettings, ...] = Field(min_length=1)
    venue: VenueSettings = VenueSettings()
    log: LogSettings = LogSettings()
    metrics: MetricsSettings = MetricsSettings()
    sentry: SentrySettings = SentrySettings()
    alerts: AlertSettings = AlertSettings()
    feed: FeedSettings = FeedSettings()
    gateway: GatewaySettings = GatewaySettings()
    watchdog: WatchdogSettings = WatchdogSettings()
    supervision: SupervisionSettings = SupervisionSettings()
    capital: CapitalSettings = CapitalSettings()
    risk: RiskSettings = RiskSettings()
    guard: GuardSettings = GuardSettings()
    orders: OrderSettings = OrderSettings()
    strategist: StrategistSettings = StrategistSettings()
    reconciler: ReconcilerSettings = ReconcilerSettings()

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        names = [instrument.symbol for instrument in self.instruments]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"instruments: {', '.join(twice)} stands there twice")
        if self.capital.max_order > self.capital.allotted:
            raise ValueError("capital.max_order is larger than capital.allotted")
        judged_s = self.watchdog.limits_for("strategist").progress_s
        if 0 < judged_s < 2 * self.strategist.cycle_s:
            raise ValueError(
                f"watchdog.actors.strategist.progress_s ({judged_s:g}) would trip between two decision cycles: "
                f"it must be at least twice strategist.cycle_s ({self.strategist.cycle_s:g}), or 0"
            )
        check_names(self.watchdog)
        check_silence(self.watchdog, self.supervision, (*WORKERS, *self.guard_groups()))
        proven_s = self.venue.jwt_life_s + self.venue.visibility_delay_s + UNKNOWN_MARGIN_S
        if self.orders.unknown_latch_s <= proven_s:
            raise ValueError(
                f"orders.unknown_latch_s ({self.orders.unknown_latch_s:g}) would latch before a lost order can be "
                f"proven absent: it must be above venue.jwt_life_s ({self.venue.jwt_life_s:g}) + "
                f"venue.visibility_delay_s ({self.venue.visibility_delay_s:g}) + {UNKNOWN_MARGIN_S:g}"
            )
        return self

    @property
    def symbols(self) -> tuple[str, ...]:
        """Order products."""
        return tuple(instrument.symbol for instrument in self.instruments)

    @property
    def data_products(self) -> tuple[str, ...]:
        """Data products, each once, in order."""
        return tuple(dict.fromkeys(instrument.data_product for instrument in self.instruments))

    @property
    def store_dir(self) -> Path:
        """Where this mode keeps its books; modes never share a store."""
        return self.data_dir / self.mode

    @property
    def kill_file(self) -> Path:
        """The kill latch. Anyone may create it; only ``release`` removes it."""
        return self.data_dir / "KILL"

    @property
    def crash_dir(self) -> Path:
        return self.data_dir / "crash"

    def guard_groups(self) -> dict[str, tuple[str, ...]]:
        """Guard actor name -> its data products: one each, or groups above ``guard.group_above`` symbols."""
        products = self.data_products
        if len(products) <= self.guard.group_above:
            return {f"guard.{product}": (product,) for product in products}
        size = self.guard.group_size
        return {f"guard.group{n // size + 1}": products[n : n + size] for n in range(0, len(products), size)}

    def instrument(self, symbol: str) -> InstrumentSettings:
        """The instrument whose order product is ``symbol``; raises KeyError."""
        for instrument in self.instruments:
            if instrument.symbol == symbol:
                return instrument
        raise KeyError(symbol)


def read_folder(folder: Path, files: Mapping[str, tuple[str, ...]] = FILES) -> dict[str, object]:
    """The raw sections of the files; raises ConfigError for a missing file, bad YAML, a misplaced key."""
    merged: dict[str, object] = {}
    for file_name, sections in files.items():
        path = folder / file_name
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise ConfigError(f"{path}: this file is missing; copy it from {DEFAULT_FOLDER}") from None
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: cannot be read: {error}") from error
        try:
            content = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"{path}: not YAML: {str(error).replace(chr(10), ' ')}") from error
        if content is None:
            content = {}
        if not isinstance(content, dict):
            raise ConfigError(f"{path}: expected a mapping of sections, found {type(content).__name__}")
        for key, value in content.items():
            if key not in sections:
                raise ConfigError(f"{path}: unknown key {key!r}; this file holds: {', '.join(sections)}")
            merged[str(key)] = value
    return merged


def make_settings(raw: Mapping[str, object], *, source: str, **fixed: object) -> Settings:
    """Validate raw sections together with values fixed by the command line; raises ConfigError."""
    try:
        settings = Settings.model_validate({**raw, **fixed})
    except ValidationError as error:
        lines = []
        for item in error.errors(include_url=False):
            where = ".".join(str(part) for part in item["loc"]) or "(all)"
            lines.append(f"{_file_of(item['loc'], source)}: {where}: {_reason(item['msg'])} (found {item['input']!r})")
        raise ConfigError("\n".join(lines)) from error
    return settings.model_copy(update={"config_hash": config_hash(settings)})


def config_hash(settings: Settings) -> str:
    """Twelve hex digits over every effective value that decides behaviour (not where data lies or the epoch)."""
    apart = {"data_dir", "epoch", "config_hash", "build"}
    if settings.mode == "demo":
        apart.add("venue")  # the simulator's ports are new at every start
    values = settings.model_dump(mode="json", exclude=apart)
    return hashlib.sha256(orjson.dumps(values, option=orjson.OPT_SORT_KEYS)).hexdigest()[:12]


def _file_of(location: tuple[int | str, ...], source: str) -> str:
    section = str(location[0]) if location else ""
    for file_name, sections in FILES.items():
        if section in sections:
            return f"{source}/{file_name}"
    return source


def _reason(text: str) -> str:
    if text == "Extra inputs are not permitted":
        return "unknown key: remove it or correct its name"
    return text
