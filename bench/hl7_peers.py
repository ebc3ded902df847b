"""MLLP servers of the Python libraries as their documentation shows them: `hl7 PORT` or `hl7apy PORT`.

Both parse each message and answer AA; neither keeps anything. hl7apy's takes one message a connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

from hl7.mllp import HL7StreamReader, HL7StreamWriter, start_hl7_server
from hl7apy.core import Message
from hl7apy.mllp import AbstractHandler, MLLPServer
from hl7apy.parser import parse_message

from tests.peers.processes import HOST


async def serve_hl7(port: int) -> None:
    """Until killed."""

    async def take(reader: HL7StreamReader, writer: HL7StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                message = await reader.readmessage()
                writer.writemessage(message.create_ack())
                await writer.drain()

    server = await start_hl7_server(take, HOST, port, encoding="utf-8")
    await server.serve_forever()


class _Order(AbstractHandler):  # type: ignore[misc]
    def reply(self) -> str:
        order = parse_message(self.incoming_message, find_groups=False)
        answer = Message("ACK")
        answer.msh.msh_9 = "ACK"
        answer.msa.msa_1 = "AA"
        answer.msa.msa_2 = order.msh.msh_10.value
        return str(answer.to_mllp())


def serve_hl7apy(port: int) -> None:
    """Until killed."""
    with MLLPServer(HOST, port, {"ORM^O01^ORM_O01": (_Order,)}) as server:
        server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1] == "hl7":
        asyncio.run(serve_hl7(int(sys.argv[2])))
    else:
        serve_hl7apy(int(sys.argv[2]))
