"""Proofs: what they prove is known to those who hold the secret, and to nobody else."""

from __future__ import annotations

from strata.content.proof import Prover

SECRET = bytes(range(32))


def test_a_proof_depends_on_secret_name_and_checksum() -> None:
    """Equal rows in two objects, or under two secrets, have different proofs; the same ones have the same."""
    proofs = {
        Prover(secret).proof(name, checksum)
        for secret in (SECRET, SECRET[::-1])
        for name in ("layers/a/0.seg", "layers/a/1.seg")
        for checksum in (bytes(16), bytes(15) + b"x")
    }
    assert len(proofs) == 8
    assert Prover(SECRET).proof("layers/a/0.seg", bytes(16)) in proofs


def test_a_proof_shows_nothing_of_its_checksum() -> None:
    """The proof of a checksum is 16 bytes in hex, and not the checksum."""
    proof = Prover(SECRET).proof("a", b"checksum" * 2)
    assert len(bytes.fromhex(proof)) == 16
    assert bytes.fromhex(proof) != b"checksum" * 2
