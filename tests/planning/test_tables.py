"""Values by type, spans of time and keep rules, as settings hold them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strata.model.tier import StorageTier
from strata.planning.proving import Budget
from strata.planning.tables import CopyRule, budget, by_type, copy_rule, days, keep_rules, promise, span, spoken, stores


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("24h", 86_400), ("7d", 604_800), ("2w", 1_209_600), (" 1h ", 3_600)],
)
def test_spans_are_read(text: str, seconds: int) -> None:
    """A number and a unit."""
    assert span(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "0m", "15", "m", "1.5h", "-1h", "1h30m", "15M", "999999999w", "\u0661h"])
def test_what_is_no_span_is_refused(text: str) -> None:
    """Nothing is guessed; none at all is no interval."""
    with pytest.raises(ValueError, match="is not a span of time such as 15m, 24h or 7d"):
        span(text)


@given(st.integers(1, 300), st.sampled_from("smhdw"))
def test_a_span_is_said_in_words_that_mean_the_same(number: int, unit: str) -> None:
    """What is said is never longer than what it is, and at least two thirds of it, once it is two of a unit."""
    length = span(f"{number}{unit}")
    said, word = spoken(length).split()
    size = {"s": 1, "min": 60, "h": 3_600, "d": 86_400}[word]
    assert 2 / 3 * length.total_seconds() <= int(said) * size <= length.total_seconds()


def test_lengths_are_said_well() -> None:
    """As a person says them; less than nothing is none."""
    lengths = [timedelta(days=9), timedelta(hours=24), timedelta(hours=1), timedelta(minutes=15), timedelta(seconds=-5)]
    assert [spoken(one) for one in lengths] == ["9 d", "24 h", "1 h", "15 min", "0 s"]


def test_values_by_type_are_taken_apart() -> None:
    """Spaces and empty entries do not matter; what is not text is left to whoever checks it."""
    assert by_type(" full = 90 ; snapshot=7;") == {"full": "90", "snapshot": "7"}
    assert by_type({"full": 90}) == {"full": 90}
    assert by_type("") == {}


def test_stores_and_days_come_as_text_or_as_toml_has_them() -> None:
    """A list or text by comma; a number or its digits."""
    assert stores("network, cloud") == stores(["network", "cloud"]) == (StorageTier.NETWORK, StorageTier.CLOUD)
    assert (days("90"), days(7)) == (90, 7)


@pytest.mark.parametrize("value", [[], 5, None, "", [1], True])
def test_what_is_no_store_is_refused(value: object) -> None:
    """Whatever its kind."""
    with pytest.raises(ValueError, match="store"):
        stores(value)


@pytest.mark.parametrize("value", [True, 1.5, None, "1e3", "\u0661", "9999999999"])
def test_what_is_no_number_of_days_is_refused(value: object) -> None:
    """Whatever its kind."""
    with pytest.raises(ValueError, match="is not a number of days"):
        days(value)


def test_keep_rules_are_read() -> None:
    """Counts, and all there are."""
    assert keep_rules("last:3, daily:7,yearly:unlimited") == {"last": 3, "daily": 7, "yearly": -1}
    assert keep_rules({"daily": 7, "yearly": "unlimited"}) == {"daily": 7, "yearly": -1}
    with pytest.raises(ValueError, match="'often:3' is not one of last, hourly"):
        keep_rules("often:3")


def test_a_budget_is_a_span_or_a_size() -> None:
    """Or nothing at all; a number without a unit may mean either, and is refused."""
    assert budget("20m") == Budget(seconds=1200)
    assert budget(" 50GiB ") == Budget(bytes=50 << 30)
    assert budget("512MiB") == Budget(bytes=512 << 20)
    assert not budget("off").allows(0, 0)
    for wrong in ("20", "0m", "0GiB", "-1GiB", "50GB", "50 GiB", "", "on"):
        with pytest.raises(ValueError, match="is neither a span of time such as 20m nor a size such as 50GiB"):
            budget(wrong)


def test_the_copy_rule_and_promises_are_read() -> None:
    """Five numbers; an interval, or off."""
    assert copy_rule("3-2-1-1-0") == CopyRule()
    assert copy_rule("2-1-0-0-1") == CopyRule(2, 1, 0, 0, 1)
    with pytest.raises(ValueError, match="is not five numbers"):
        copy_rule("3-2-1")
    assert (promise("off"), promise("15m")) == (None, timedelta(minutes=15))
