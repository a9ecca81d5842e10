"""Kafka client settings of a stage: librdkafka's and Java's names, checked, and what they mean.

Invariant: no value of an option ever gets into a message; it might be a secret.
"""

import difflib
import importlib.util
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

OPTIONS = {
    "security.protocol": "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL",
    "sasl.mechanism": "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or GSSAPI",
    "sasl.mechanisms": "the same, by librdkafka's name",
    "sasl.username": "user name for PLAIN and SCRAM",
    "sasl.password": "password for PLAIN and SCRAM",
    "sasl.kerberos.service.name": "principal of the brokers, GSSAPI",
    "sasl.kerberos.domain.name": "host part of the brokers' principal, GSSAPI",
    "ssl.ca.location": "PEM file or folder of trusted certificate authorities",
    "ssl.ca.pem": "trusted certificate authorities, as PEM text",
    "ssl.certificate.location": "PEM file with the client's certificate",
    "ssl.key.location": "PEM file with the client's private key",
    "ssl.key.password": "password of the private key",
    "ssl.endpoint.identification.algorithm": "https (default) checks the host name, none does not",
    "enable.ssl.certificate.verification": "false accepts any certificate",
    "client.id": "name shown in the brokers' logs and quotas",
    "request.timeout.ms": "how long one request may take; a connection 10 s at most (30000)",
    "default.api.timeout.ms": "how long to go on without success (15000 to list, 60000 to read)",
    "retry.backoff.ms": "first wait before another try; doubles, up to 2 s (100)",
    "fetch.max.bytes": "bytes asked for at once (4194304)",
    "fetch.max.wait.ms": "how long a broker may wait for more data (500)",
    "isolation.level": "read_committed (default) or read_uncommitted",
    "check.crcs": "true (default) checks every batch's checksum",
}
"""Option name -> what it does. Shown by the documentation."""

_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "GSSAPI")
_CHOICES = {
    "security.protocol": _PROTOCOLS,
    "sasl.mechanism": _MECHANISMS,
    "sasl.mechanisms": _MECHANISMS,
    "isolation.level": ("read_committed", "read_uncommitted"),
    "enable.ssl.certificate.verification": ("true", "false"),
    "ssl.endpoint.identification.algorithm": ("https", "none"),
    "check.crcs": ("true", "false"),
}
_NUMBERS = {
    # name: smallest, largest
    "request.timeout.ms": (100, 600_000),
    "default.api.timeout.ms": (100, 3_600_000),
    "retry.backoff.ms": (1, 60_000),
    "fetch.max.bytes": (1_024, 256 << 20),
    "fetch.max.wait.ms": (0, 60_000),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """How to reach a cluster. Times are seconds. `repr` shows no secret."""

    protocol: str = "PLAINTEXT"
    mechanism: str = "PLAIN"
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    kerberos_service: str = "kafka"
    kerberos_domain: str | None = None
    tls: ssl.SSLContext | None = None
    client_id: str = "fidelity"
    request_timeout: float = 30.0
    list_timeout: float = 15.0
    read_timeout: float = 60.0
    backoff: float = 0.1
    fetch_bytes: int = 4 << 20
    fetch_wait_ms: int = 500
    committed: bool = True
    check_crcs: bool = True


def problems(options: Mapping[str, str]) -> list[str]:
    """What is wrong with a stage's options, one sentence each; empty when nothing is."""
    found = [problem for name in options if (problem := _problem(name, options[name]))]
    protocol = options.get("security.protocol", "PLAINTEXT").upper()
    mechanism = _mechanism(options)
    if protocol.startswith("SASL") and mechanism != "GSSAPI":
        found += [
            f"{name} is missing: {protocol} with {mechanism} needs it"
            for name in ("sasl.username", "sasl.password")
            if name not in options
        ]
    if mechanism == "GSSAPI" and importlib.util.find_spec("gssapi") is None:
        found.append("sasl.mechanism GSSAPI needs the Python package gssapi, which is not there")
    sasl = [name for name in options if name.startswith("sasl.") and name in OPTIONS]
    if sasl and not protocol.startswith("SASL"):
        found.append(f"{sasl[0]} has no effect with security.protocol {protocol}: use SASL_SSL")
    return found


def settings(options: Mapping[str, str]) -> Settings:
    """The options' meaning. Raises ValueError that names all problems, but no value."""
    found = problems(options)
    if found:
        raise ValueError("; ".join(found))
    known = Settings()
    protocol = options.get("security.protocol", known.protocol).upper()
    patience = _seconds(options, "default.api.timeout.ms", -1.0)
    return Settings(
        protocol=protocol,
        mechanism=_mechanism(options),
        username=options.get("sasl.username"),
        password=options.get("sasl.password"),
        kerberos_service=options.get("sasl.kerberos.service.name", known.kerberos_service),
        kerberos_domain=options.get("sasl.kerberos.domain.name"),
        tls=_context(options) if protocol.endswith("SSL") else None,
        client_id=options.get("client.id", known.client_id),
        request_timeout=_seconds(options, "request.timeout.ms", known.request_timeout),
        list_timeout=patience if patience > 0 else known.list_timeout,
        read_timeout=patience if patience > 0 else known.read_timeout,
        backoff=_seconds(options, "retry.backoff.ms", known.backoff),
        fetch_bytes=int(options.get("fetch.max.bytes", known.fetch_bytes)),
        fetch_wait_ms=int(options.get("fetch.max.wait.ms", known.fetch_wait_ms)),
        committed=options.get("isolation.level", "read_committed").lower() == "read_committed",
        check_crcs=options.get("check.crcs", "true").lower() == "true",
    )


def _problem(name: str, value: str) -> str | None:
    if name not in OPTIONS:
        near = difflib.get_close_matches(name, OPTIONS, n=1, cutoff=0.5)
        hint = f", did you mean {near[0]}?" if near else f"; known are {', '.join(OPTIONS)}"
        return f"unknown Kafka option {name}{hint}"
    if name in _CHOICES and value.upper() not in (one.upper() for one in _CHOICES[name]):
        return f"{name} must be one of {', '.join(_CHOICES[name])}"
    if name in _NUMBERS:
        low, high = _NUMBERS[name]
        if not (value.isascii() and value.isdigit() and low <= int(value) <= high):
            return f"{name} must be a whole number from {low} to {high}"
    return None


def _mechanism(options: Mapping[str, str]) -> str:
    return options.get("sasl.mechanism", options.get("sasl.mechanisms", "PLAIN")).upper()


def _seconds(options: Mapping[str, str], name: str, default: float) -> float:
    return int(options[name]) / 1000 if name in options else default


def _context(options: Mapping[str, str]) -> ssl.SSLContext:
    place, text = options.get("ssl.ca.location"), options.get("ssl.ca.pem")
    try:
        context = ssl.create_default_context(cadata=text)
        if place is not None:
            context.load_verify_locations(**_file_or_folder(place))
    except (OSError, ValueError) as error:
        raise ValueError(f"ssl.ca.location or ssl.ca.pem cannot be used: {_why(error)}") from None
    if options.get("ssl.endpoint.identification.algorithm", "https").lower() == "none":
        context.check_hostname = False
    if options.get("enable.ssl.certificate.verification", "true").lower() == "false":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if "ssl.certificate.location" in options:
        try:
            context.load_cert_chain(
                options["ssl.certificate.location"],
                options.get("ssl.key.location"),
                options.get("ssl.key.password", ""),  # never None: OpenSSL would ask the terminal
            )
        except (OSError, ValueError) as error:
            raise ValueError(
                f"ssl.certificate.location or ssl.key.location cannot be used: {_why(error)}"
            ) from None
    return context


def _file_or_folder(place: str) -> dict[str, str]:
    return {"capath": place} if Path(place).is_dir() else {"cafile": place}


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else "") or type(error).__name__
