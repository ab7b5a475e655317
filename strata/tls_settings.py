"""The settings of TLS; read and frozen with all the others (strata.settings)."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings

from strata.tls import Tls


class TlsSettings(BaseSettings):
    """What every encrypted connection goes by, where its URL says nothing else."""

    tls_ca: str | None = Field(
        None, description="File of the authorities that encrypted connections trust (PEM); the system's otherwise."
    )
    tls_certificate: str | None = Field(
        None, description="File with the client certificate that encrypted connections show (PEM)."
    )
    tls_key: str | None = Field(None, description="File with its key, where that is another one; not encrypted.")

    @property
    def tls(self) -> Tls:
        """The three, as connections take them."""
        return Tls(self.tls_ca, self.tls_certificate, self.tls_key)
