"""The contract of MQTT: the documents that others read, against the code and against the standards they claim."""
