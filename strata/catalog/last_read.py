"""When each layer of a store was last read back there, and which backup tells how to read it."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from strata.catalog.readings import Readings
from strata.catalog.row import Row
from strata.catalog.shelf import Shelf
from strata.planning.proving import LayerRead


def readings_of(shelf: Shelf) -> Readings:
    """The readings that a store's backups and notes tell of."""
    readings = Readings()
    readings.noted(shelf.notes)
    readings.made((row for row in shelf.rows if row.store_id == shelf.store_id), shelf.layers)
    return readings


def layers_read(shelf: Shelf, demanded: Collection[str]) -> Iterator[LayerRead]:
    """Every layer that a backup of the store names; `demanded` are the backups on which promises rest."""
    readings, stacked, lent, promised = readings_of(shelf), dict[str, Row](), dict[str, Row](), set[str]()
    for row in sorted(shelf.rows, key=lambda row: row.generation):
        stacked.update(dict.fromkeys(row.stacked, row))
        lent.update(dict.fromkeys(row.lent, row))
        if row.backup_id in demanded:
            promised.update(row.layers)
    for layer_id in stacked.keys() | lent.keys():
        whole = layer_id in stacked
        yield LayerRead(
            storage_tier=shelf.tier,
            layer_id=layer_id,
            backup_id=(stacked if whole else lent)[layer_id].backup_id,
            whole=whole,
            bytes=shelf.layers[layer_id].stored_bytes,
            looked_at=readings.looked_at(layer_id, whole=whole),
            demanded=layer_id in promised,
        )
