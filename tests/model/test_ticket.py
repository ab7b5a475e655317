"""Tickets name bytes: by labels that a person can read, and names that no two objects share."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from strata.engine.creator import unit_of
from strata.model.layer import ObjectKind, object_name
from strata.model.ticket import Merged, Spooled, TierMerged, Unit
from strata.model.tier import Tier


def spooled(unit: Unit) -> Spooled:
    """A spooled object of a unit."""
    return Spooled(unit=unit, name=f"spool/{unit.label}", rows=1, raw_bytes=1, checksum="")


UNITS = [
    Unit(tier=tier, kind=kind, seq=seq)
    for tier in (Tier.HOT, Tier.COLD)
    for kind in ObjectKind
    if kind is not ObjectKind.DOCUMENT
    for seq in (0, 7)
]


def test_a_label_names_one_unit() -> None:
    """A unit is found again by its label, which no other unit has."""
    assert [unit_of(unit.label) for unit in UNITS] == UNITS
    assert len({unit.label for unit in UNITS}) == len(UNITS)


def test_no_two_objects_share_a_name() -> None:
    """Kind, layer and number each make another name in a store; packs lie apart."""
    names = {object_name(layer, unit.kind, unit.seq) for layer in ("a-hot", "a-warm") for unit in UNITS}
    assert len(names) == 16
    assert object_name("a-hot", ObjectKind.PACK, 3) == "chunks/a-hot-000003.pack"
    assert object_name("a-hot", ObjectKind.SEGMENT, 3) == "layers/a-hot/000003.seg"


@pytest.mark.parametrize("chosen", ["hot/segment/0", "hot/pack/7"])
def test_a_selection_applies_to_its_unit_alone(chosen: str) -> None:
    """The selection of one unit touches no other number, no other kind, and no other tier."""
    tiers = tuple(
        TierMerged(
            tier=tier,
            objects=tuple(spooled(unit) for unit in UNITS if unit.tier is tier),
            selections={chosen: "the-selection"} if tier is Tier.HOT else {},
            stack=(),
            records=1,
            kept=1,
            tombstones=0,
            logical_bytes=1,
            kept_bytes=1,
            changes=None,
        )
        for tier in (Tier.HOT, Tier.COLD)
    )
    merged = Merged.model_validate_json(Merged(tiers=tiers).model_dump_json())
    assert [unit.label for unit in UNITS if merged.selection(unit)] == [chosen]
    assert [merged.find(unit.label).unit for unit in UNITS] == UNITS


def test_a_ticket_of_unknown_fields_is_refused() -> None:
    """A document written by a later version is not read as if it were of this one."""
    with pytest.raises(ValidationError):
        Unit.model_validate_json('{"tier": "hot", "kind": "segment", "seq": 0, "colour": "red"}')
