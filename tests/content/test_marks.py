"""Marks: equal for equal parts, and nothing else can be told of them."""

from __future__ import annotations

from strata.content.marks import PartMarker

MARKER = PartMarker(bytes(range(32)))


def test_equal_parts_have_equal_marks_and_others_do_not() -> None:
    """The same part twice is one; another name, another tier, another secret, or the steps cut elsewhere is another."""
    (mark,) = MARKER.marks("warm", [["public.t"], ["public.t"]])
    others = [
        MARKER.marks("warm", [["public.u"]]),
        MARKER.marks("hot", [["public.t"]]),
        PartMarker(bytes(32)).marks("warm", [["public.t"]]),
        MARKER.marks("warm", [["public.", "t"]]),
    ]
    assert all(mark not in one for one in others)
    assert "public" not in mark
    assert len(mark) == 16


def test_a_part_within_another_begins_with_its_mark() -> None:
    """So that a prefix is known to cover a longer one without being told; the whole tier's mark is empty."""
    whole, outer, inner = MARKER.marks("cold", [["a/", "b/"], [], ["a/"]])
    assert whole == ""
    assert inner.startswith(f"{outer}/")
