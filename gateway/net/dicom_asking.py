"""Requests that we send on an association a peer opened (N-EVENT-REPORT), and the wait for their responses.

What is promised: every `ask` ends, with the response, or with None when none came in time or the association
is over. Message IDs are our own and independent of the peer's (PS3.7 7.1).
"""

from __future__ import annotations

import asyncio

from gateway.dicom.dimse import CommandSet


class OwnRequests:
    """What we asked on one association and is not answered yet."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: dict[int, asyncio.Future[CommandSet | None]] = {}
        self._message_id = 0

    def next_message_id(self) -> int:
        self._message_id = self._message_id % 0xFFFF + 1
        return self._message_id

    async def response(self, message_id: int, seconds: float) -> CommandSet | None:
        """The response to `message_id`, or None."""
        answer: asyncio.Future[CommandSet | None] = self._loop.create_future()
        self._waiting[message_id] = answer
        try:
            return await asyncio.wait_for(answer, seconds)
        except TimeoutError:
            return None
        finally:
            self._waiting.pop(message_id, None)

    def answered(self, response: CommandSet) -> None:
        """A response arrived; one that nobody waits for is ignored."""
        answer = self._waiting.pop(response.MessageIDBeingRespondedTo or 0, None)
        if answer is not None and not answer.done():
            answer.set_result(response)

    def end(self) -> None:
        """The association is over."""
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_result(None)
