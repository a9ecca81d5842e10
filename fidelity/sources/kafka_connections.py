"""Connections to the brokers of one cluster: aiokafka's, with failures that a person can act on.

What may pass by itself is raised as Again, what needs a person as SourceError, which never repeats
what a server said of a log-in.
"""

import asyncio
import logging
import random
import socket
import ssl
from typing import Any

from aiokafka import errors as kafka_errors
from aiokafka.conn import AIOKafkaConnection, CloseReason, collect_hosts, create_conn

from fidelity.errors import SourceError
from fidelity.sources.kafka_options import Settings

Address = tuple[str, int]

_CONNECT_SECONDS = 10.0
_REFUSALS = (
    kafka_errors.SaslAuthenticationFailed,
    kafka_errors.UnsupportedSaslMechanismError,
    kafka_errors.IllegalSaslStateError,
    ValueError,  # a SCRAM server that cannot prove that it knows the password
    AssertionError,
)
_TLS_ADVICE = (
    "Check that the port speaks TLS (option security.protocol), and ssl.ca.location if the "
    "certificate is not trusted."
)
_SASL_ADVICE = "Check the options sasl.mechanism, sasl.username and sasl.password."

# Failures are told by our own errors; without a handler aiokafka's would go to the terminal.
# Its debug messages hold every request, passwords among them.
logging.getLogger("aiokafka").addHandler(logging.NullHandler())
logging.getLogger("aiokafka").setLevel(logging.WARNING)


class Again(Exception):  # noqa: N818 -- not an error yet
    """May pass by itself."""


class Connections:
    """Kept until `close`. Used by one event loop only.

    Args:
        brokers: `host:port,host:port`, where to begin.
        settings: how to log in.
        where: names the stage in errors.

    Raises SourceError if the brokers are no addresses.
    """

    def __init__(self, brokers: str, settings: Settings, where: str) -> None:
        self._settings, self._where = settings, where
        try:
            self._seeds: list[Address] = [(host, port) for host, port, _ in collect_hosts(brokers)]
        except ValueError:
            raise self._refused(
                f"The brokers are not written as host:port,host:port: {brokers}.",
                "Correct the stage's brokers.",
            ) from None
        self.nodes: dict[int, Address] = {}
        self._open: dict[Address, AIOKafkaConnection] = {}
        self._locks: dict[Address, asyncio.Lock] = {}

    def close(self) -> None:
        """Close all connections."""
        for connection in self._open.values():
            connection.close(reason=CloseReason.SHUTDOWN)

    async def ask_any(self, request: Any) -> Any:
        """Ask one broker after the other until one answers."""
        nodes = list(self.nodes.values())
        random.shuffle(nodes)
        reasons = []
        for address in dict.fromkeys(nodes + self._seeds):
            try:
                return await self.ask(address, request)
            except Again as again:
                reasons.append(str(again))
        raise Again("; ".join(reasons))

    async def ask(self, address: Address, request: Any) -> Any:
        """Send a request; its answer."""
        connection = await self._connection(address)
        place = f"{address[0]}:{address[1]}"
        try:
            return await connection.send(request)
        except TimeoutError:
            connection.close(reason=CloseReason.CONNECTION_TIMEOUT)
            seconds = self._settings.request_timeout
            raise Again(f"{place} did not answer within {seconds:.0f} s") from None
        except (kafka_errors.IncompatibleBrokerVersion, NotImplementedError):
            what = (
                f"The broker at {place} speaks no version of Kafka's protocol that is known here."
            )
            raise self._refused(what, "Kafka 0.11 to 4.x can be read.") from None
        except (kafka_errors.KafkaError, OSError):
            raise Again(self._closed(place)) from None

    async def _connection(self, address: Address) -> AIOKafkaConnection:
        async with self._locks.setdefault(address, asyncio.Lock()):
            there = self._open.get(address)
            if there is None or not there.connected():
                there = self._open[address] = await self._connect(*address)
            return there

    async def _connect(self, host: str, port: int) -> AIOKafkaConnection:
        known, place = self._settings, f"{host}:{port}"
        try:
            async with asyncio.timeout(min(_CONNECT_SECONDS, known.request_timeout)):
                return await create_conn(
                    host,
                    port,
                    client_id=known.client_id,
                    request_timeout_ms=int(known.request_timeout * 1000),
                    security_protocol=known.protocol,
                    ssl_context=known.tls,
                    sasl_mechanism=known.mechanism,
                    sasl_plain_username=known.username,
                    sasl_plain_password=known.password,
                    sasl_kerberos_service_name=known.kerberos_service,
                    sasl_kerberos_domain_name=known.kerberos_domain,
                )
        except TimeoutError:
            raise Again(f"{place} does not answer") from None
        except ssl.SSLEOFError:
            raise Again(self._closed(place)) from None
        except ssl.SSLError as error:
            raise self._refused(f"TLS with {place} fails ({error.reason}).", _TLS_ADVICE) from None
        except socket.gaierror:
            raise Again(f"the host name {host} is not known") from None
        except ConnectionRefusedError:
            raise Again(f"nothing listens on {place}") from None
        except (ConnectionError, kafka_errors.KafkaConnectionError):
            raise Again(self._closed(place)) from None
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise Again(f"{place} cannot be reached ({reason})") from None
        except _REFUSALS as error:
            # Their text is left out: it is the server's, and may repeat what it was told.
            what = f"{place} refuses the log-in by {known.mechanism} ({type(error).__name__})."
            raise self._refused(what, _SASL_ADVICE) from None
        except kafka_errors.KafkaError as error:
            raise Again(f"{place} answers {type(error).__name__}") from None

    def _closed(self, place: str) -> str:
        protocol = self._settings.protocol
        return (
            f"{place} closed the connection (if it always does, that port may want something else "
            f"than {protocol}, whether TLS or SASL: option security.protocol)"
        )

    def _refused(self, what: str, action: str) -> SourceError:
        return SourceError(what, where=self._where, action=action)
