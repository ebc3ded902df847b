"""The fleet's side of MQTT: what central IT runs to know its boxes (the extra `fleet`; never on a box).

What is promised: an event is acknowledged to its box only after it is committed here, once however often it comes;
any number of collectors may work side by side, and one that is killed loses nothing that a box does not send again.
Broker, PostgreSQL and the store of metrics are programs that others wrote and that carry the load.
"""
