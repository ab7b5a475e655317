"""Thaw plans: how many objects, how long, how dear; every sum by AWS's own examples where there is one."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from strata.model.thaw import Heat, ObjectState, ThawPlan, ThawSpeed
from strata.planning.thaw import DEFAULT_PRICES, plan_thaw, prices_of

GB = 1 << 30
PRICES = prices_of(DEFAULT_PRICES)


def objects(count: int, size: int = GB, storage_class: str = "GLACIER", heat: Heat = Heat.FROZEN) -> list[ObjectState]:
    """So many objects that stand alike."""
    return [
        ObjectState(name=f"{storage_class}-{heat}-{number}", size=size, storage_class=storage_class, heat=heat)
        for number in range(count)
    ]


def planned(states: list[ObjectState], speed: ThawSpeed = ThawSpeed.BULK, days: int = 30) -> ThawPlan:
    """The plan at list prices."""
    return plan_thaw("s3://archive", states, speed, days, PRICES)


def test_the_example_of_aws_costs_what_aws_says() -> None:
    """repost.aws/knowledge-center/s3-manage-data-retrieval: 15 million objects, 100 TB, standard: 750 + 1,024 USD."""
    share = 102_400 * GB // 15_000
    (part,) = planned(objects(15_000, share), ThawSpeed.STANDARD).parts
    assert part.request_cost * 1000 == pytest.approx(750)
    assert part.retrieval_cost == pytest.approx(1024, rel=1e-6)


@pytest.mark.parametrize(
    ("storage_class", "speed", "asked", "hours", "cost"),
    [
        ("GLACIER", ThawSpeed.EXPEDITED, ThawSpeed.EXPEDITED, (1 / 60, 5 / 60), 0.03 * 1000 + 10),
        ("GLACIER", ThawSpeed.STANDARD, ThawSpeed.STANDARD, (3, 5), 0.01 * 1000 + 0.05),
        ("GLACIER", ThawSpeed.BULK, ThawSpeed.BULK, (5, 12), 0.0),
        ("DEEP_ARCHIVE", ThawSpeed.EXPEDITED, ThawSpeed.STANDARD, (12, 12), 0.02 * 1000 + 0.1),
        ("DEEP_ARCHIVE", ThawSpeed.STANDARD, ThawSpeed.STANDARD, (12, 12), 0.02 * 1000 + 0.1),
        ("DEEP_ARCHIVE", ThawSpeed.BULK, ThawSpeed.BULK, (48, 48), 0.0025 * 1000 + 0.025),
    ],
)
def test_each_class_and_speed_has_its_hours_and_its_price(
    storage_class: str, speed: ThawSpeed, asked: ThawSpeed, hours: tuple[float, float], cost: float
) -> None:
    """1,000 objects of 1 GB; DEEP_ARCHIVE knows no expedited retrieval and says so. Copies cost as S3 Standard."""
    plan = planned(objects(1000, storage_class=storage_class), speed)
    (part,) = plan.parts
    assert part.speed is asked
    assert (part.least_hours, part.most_hours) == (plan.least_hours, plan.most_hours) == hours
    assert part.retrieval_cost + part.request_cost == pytest.approx(cost)
    assert part.copy_cost == pytest.approx(23.0)
    assert plan.cost == pytest.approx(cost + 23.0)
    assert any("no expedited retrieval" in reason for reason in plan.reasons) is (asked is not speed)


def test_what_can_be_read_costs_nothing() -> None:
    """Warm and thawed objects are counted, and neither asked for nor waited for."""
    plan = planned([*objects(3, storage_class="GLACIER_IR", heat=Heat.WARM), *objects(2, heat=Heat.THAWED)])
    assert not plan.needed
    assert (plan.objects, plan.batches, plan.cost, plan.most_hours) == (0, 0, 0.0, 0.0)
    assert (plan.readable, plan.readable_bytes) == (5, 5 * GB)


def test_what_is_on_its_way_is_waited_for_and_not_paid_twice() -> None:
    """Objects asked for earlier are in the hours, not in the cost."""
    plan = planned(objects(4, heat=Heat.THAWING))
    assert plan.needed
    assert (plan.objects, plan.thawing, plan.cost) == (0, 4, 0.0)
    assert plan.most_hours == 12
    assert plan.ready_by(datetime(2026, 1, 1, tzinfo=UTC)) == datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_classes_are_planned_apart_and_the_slowest_counts() -> None:
    """A mixed archive: a part for each class, batches of 1,000."""
    plan = planned([*objects(1500, 1), *objects(600, 1, "DEEP_ARCHIVE")])
    assert [(part.storage_class, part.objects) for part in plan.parts] == [("DEEP_ARCHIVE", 600), ("GLACIER", 1500)]
    assert (plan.objects, plan.batches, plan.most_hours) == (2100, 3, 48)


def test_a_hundred_thousand_objects_are_planned_in_no_time() -> None:
    """The plan is one pass over the objects: it holds numbers, not names."""
    plan = planned(objects(100_000, 1 << 20))
    assert len(plan.model_dump_json()) < 2000
    assert plan.batches == 100


def test_prices_that_are_set_replace_those_and_no_others() -> None:
    """A table may name one price only."""
    prices = prices_of("GLACIER:bulk=0.5,2; copy=0.01;")
    assert prices.retrieval["GLACIER", ThawSpeed.BULK] == (0.5, 2.0)
    assert prices.copy == 0.01
    assert prices.retrieval["GLACIER", ThawSpeed.STANDARD] == (0.01, 0.05)


@pytest.mark.parametrize(
    "text", ["GLACIER=1,2", "DEEP_ARCHIVE:expedited=1,2", "GLACIER:bulk=1", "copy=a", "GLACIER:bulk=-1,0", "COPY=1"]
)
def test_a_price_that_cannot_be_read_is_refused_by_name(text: str) -> None:
    """The entry is in the sentence."""
    with pytest.raises(ValueError, match="is not of the form CLASS:speed="):
        prices_of(f"copy=1; {text}")
