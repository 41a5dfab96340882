"""C2PA: a signed statement of how a picture was made, beside the XMP mark. Optional.

Needs the package c2pa-python, a certificate chain and its private key. Nothing of the original goes into the
manifest: neither its thumbnail nor its name.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fstriplets import __version__
from fstriplets.errors import ConfigError, MissingDependency, OutputError
from fstriplets.swapping.mark import COMPOSITE, NOTE

__all__ = ["Signer"]

_ALGORITHMS = ("es256", "es384", "es512", "ps256", "ps384", "ps512", "ed25519")


@dataclass(frozen=True)
class Signer:
    """Signs files.

    Attributes:
        certificate: PEM file of the chain, the signer's certificate first.
        key: PEM file of its private key (PKCS 8).
        algorithm: one of C2PA's: es256, es384, es512, ps256, ps384, ps512, ed25519.
    """

    certificate: Path
    key: Path
    algorithm: str = "es256"

    @classmethod
    def parse(cls, text: str) -> Signer:
        """From `CERTIFICATE,KEY` or `CERTIFICATE,KEY,ALGORITHM`.

        Raises:
            ConfigError: another form, no such file, or an unknown algorithm.
            MissingDependency: c2pa-python is not installed.
        """
        parts = [part.strip() for part in text.split(",")]
        if len(parts) not in (2, 3) or not all(parts):
            raise ConfigError(f"--c2pa {text}: give CERTIFICATE.pem,KEY.pem, with ,ALGORITHM if not es256")
        algorithm = parts[2].lower() if len(parts) == 3 else "es256"
        if algorithm not in _ALGORITHMS:
            raise ConfigError(f"--c2pa: algorithm {algorithm!r}; choose one of: {', '.join(_ALGORITHMS)}")
        for name in parts[:2]:
            if not Path(name).expanduser().is_file():
                raise ConfigError(f"--c2pa: no such file: {name}")
        _library()
        return cls(Path(parts[0]).expanduser(), Path(parts[1]).expanduser(), algorithm)

    def sign(self, path: Path) -> None:
        """Sign a file in place.

        Raises:
            OutputError: the library refuses certificate, key or file; says why.
        """
        c2pa = _library()
        signed = path.with_name(f".{path.stem}.signed{path.suffix}")
        try:
            info = c2pa.C2paSignerInfo(
                self.algorithm.encode(), self.certificate.read_bytes(), self.key.read_bytes(), None
            )
            with c2pa.Builder(json.dumps(_manifest(path))) as builder, c2pa.Signer.from_info(info) as signer:
                builder.sign_file(path, signed, signer)
            os.replace(signed, path)
        except (c2pa.C2paError, OSError) as error:
            raise OutputError(f"--c2pa: {path} cannot be signed: {error}") from error
        finally:
            signed.unlink(missing_ok=True)


def _manifest(path: Path) -> dict[str, Any]:
    action = {"action": "c2pa.created", "digitalSourceType": COMPOSITE, "description": NOTE}
    return {
        "title": path.name,
        "claim_generator_info": [{"name": "fstriplets", "version": __version__}],
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [action]}}],
    }


def _library() -> Any:
    try:
        import c2pa
    except ImportError:
        raise MissingDependency("c2pa-python", "c2pa", "--c2pa") from None
    return c2pa
