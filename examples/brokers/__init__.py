"""Real Kafka brokers on this machine, for the demo and the tests; see `broker.py`."""

from examples.brokers.broker import Broker, BrokerError, brokers, jars

__all__ = ["Broker", "BrokerError", "brokers", "jars"]
