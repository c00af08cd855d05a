"""Decodes compressed bodies as they pass, by the packages that the HTTP client itself uses."""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable
from typing import Any

Decode = Callable[[bytes], bytes]


def decoder_for(encodings: str) -> Decode | None:
    """A function that decodes a body in these encodings chunk by chunk, or `None` where it is plain.

    Raises `LookupError` for an encoding that no installed package can decode.
    """
    names = [name.strip() for name in encodings.split(",")]
    decoders = [_DECODERS[name]() for name in reversed(names) if name not in ("", "identity")]
    if not decoders:
        return None
    if len(decoders) == 1:
        return decoders[0]

    def decode(chunk: bytes) -> bytes:
        for one in decoders:
            chunk = one(chunk)
        return chunk

    return decode


def _gzip() -> Decode:
    return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress


def _deflate() -> Decode:
    """Deflate with or without zlib's header: servers send both."""
    chosen: list[Decode] = []

    def decode(chunk: bytes) -> bytes:
        if chosen:
            return chosen[0](chunk)
        wrapped = zlib.decompressobj()
        try:
            plain = wrapped.decompress(chunk)
            chosen.append(wrapped.decompress)
        except zlib.error:
            raw = zlib.decompressobj(-zlib.MAX_WBITS)
            plain = raw.decompress(chunk)
            chosen.append(raw.decompress)
        return plain

    return decode


def _brotli() -> Decode:
    module = _installed("brotli", "brotlicffi")
    decompressor = module.Decompressor()
    # The two packages of this name differ in the name of the method.
    decode: Decode = getattr(decompressor, "decompress", None) or decompressor.process
    return decode


def _zstd() -> Decode:
    module = _installed("compression.zstd", "backports.zstd", "zstandard", "pyzstd")
    make: Any = getattr(module, "ZstdDecompressor", None)
    decompressor: Any = make()
    if hasattr(decompressor, "decompressobj"):
        decompressor = decompressor.decompressobj()
    decode: Decode = decompressor.decompress
    return decode


def _installed(*names: str) -> Any:
    for name in names:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise LookupError(f"none of {', '.join(names)} is installed")


_DECODERS: dict[str, Callable[[], Decode]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}
