"""The settings of thaws; read and frozen with all the others (strata.settings)."""

from __future__ import annotations

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings

from strata.model.thaw import ThawSpeed
from strata.planning.thaw import DEFAULT_PRICES, prices_of


class ThawSettings(BaseSettings):
    """How a restore gets back what lies in an archive class."""

    thaw_speed: ThawSpeed = Field(
        ThawSpeed.BULK, description="How quickly archived objects are asked for: `bulk`, `standard` or `expedited`."
    )
    thaw_days: int = Field(
        7, ge=1, le=365, description="How many days thawed copies stay, and are paid for besides the archive."
    )
    thaw_look_seconds: float = Field(
        600, gt=0, le=900, description="How often a restore that waits for a thaw looks whether it is over."
    )
    archive_prices: str = Field(
        DEFAULT_PRICES,
        description="USD by class and speed: per GB, and per 1,000 requests; `copy` is a GB of thawed copies for a "
        "month. What is left out costs what AWS lists for us-east-1.",
    )

    @field_validator("archive_prices")
    @classmethod
    def _prices(cls, value: str) -> str:
        prices_of(value)
        return value
