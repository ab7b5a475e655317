"""Objects in archive classes: how each stands, and the plan by which they are made readable for a while."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

from strata.model.layer import Document


class ThawSpeed(StrEnum):
    """How quickly an archive class is asked to give objects back; the slower, the cheaper."""

    BULK = "bulk"
    STANDARD = "standard"
    EXPEDITED = "expedited"


class Heat(StrEnum):
    """Whether an object can be read."""

    WARM = "warm"
    """Yes: its class is no archive class, or one that is read at once."""
    FROZEN = "frozen"
    """Not before it is asked for."""
    THAWING = "thawing"
    """Not yet: it was asked for."""
    THAWED = "thawed"
    """Yes, until its temporary copy expires."""

    @property
    def readable(self) -> bool:
        """Whether a GET succeeds."""
        return self in {Heat.WARM, Heat.THAWED}


class ObjectState(Document):
    """How one object stands; `until` is when its temporary copy expires."""

    name: str
    size: int
    storage_class: str
    heat: Heat
    until: datetime | None = None


class ThawPart(Document):
    """What is asked of one storage class at one speed; USD, hours from the request to the last object."""

    storage_class: str
    speed: ThawSpeed
    objects: int
    bytes: int
    least_hours: float
    most_hours: float
    retrieval_cost: float
    request_cost: float
    copy_cost: float
    """Of the temporary copies, for as long as they stay."""

    @property
    def cost(self) -> float:
        """All of it."""
        return self.retrieval_cost + self.request_cost + self.copy_cost


class ThawPlan(Document):
    """What must be thawed before a restore can read: nothing has been asked for yet."""

    store_url: str
    speed: ThawSpeed
    days: int
    """How long the thawed copies stay."""
    parts: tuple[ThawPart, ...] = ()
    """What is frozen, by class."""
    thawing: int = 0
    """Objects that were asked for earlier, and are on their way."""
    thawing_bytes: int = 0
    readable: int = 0
    """Objects that can be read now."""
    readable_bytes: int = 0
    batches: int = 0
    most_hours: float = 0.0
    """How long it takes at most, as the service publishes it: those on their way included."""
    reasons: tuple[str, ...] = ()

    @property
    def needed(self) -> bool:
        """Whether anything has to be waited for."""
        return bool(self.parts or self.thawing)

    @property
    def objects(self) -> int:
        """Objects that will be asked for."""
        return sum(part.objects for part in self.parts)

    @property
    def bytes(self) -> int:
        """Their bytes."""
        return sum(part.bytes for part in self.parts)

    @property
    def least_hours(self) -> float:
        """How long it takes at least; 0 where nothing is asked for anew."""
        return max((part.least_hours for part in self.parts), default=0.0)

    @property
    def cost(self) -> float:
        """USD, by the price table."""
        return sum(part.cost for part in self.parts)

    def ready_by(self, began: datetime) -> datetime:
        """When a thaw that began then should be over."""
        return began + timedelta(hours=self.most_hours)


class Thawed(Document):
    """The thaw is over: every object the restore reads can be read."""

    objects: int
    bytes: int
    until: datetime | None = None
    """When the first temporary copy expires."""
