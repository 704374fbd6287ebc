"""Proxy: a network between two programs that a test can delay, freeze, cut and mend."""

from __future__ import annotations

import asyncio
import ctypes
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from threading import Thread
from typing import Any, Self, TypeVar

ADDRESS = "127.0.0.1"
AT_ONCE = 65536

SO_ATTACH_FILTER = 26
RETURN = 6
"""Linux: a filter of one instruction, which lets 0 bytes of each packet through."""

Value = TypeVar("Value")


class Proxy:
    """Passes on what comes to its own `port` to another one of this machine."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.passed_on = 0
        """Bytes, both ways."""

        self.asked = 0
        """Pieces that callers sent. While all is slow, one for each question."""

        self._delay = 0.0
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)
        self._writers: set[asyncio.StreamWriter] = set()
        self._callers: set[asyncio.StreamWriter] = set()
        self._stranded: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[Any]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._listen)
        return self

    def __exit__(self, *_error: object) -> None:
        self._do(self._end)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # -- what can happen to a network

    def slow_down(self, seconds: float) -> None:
        """Everything takes so much longer, each way."""
        self._delay = seconds

    def freeze(self) -> None:
        """Connections stay, and nothing comes through: half-open ones, for either side."""
        self._do(self._close_gate)

    def strand(self) -> None:
        """Who has called gets no answer any more, not even that of TCP, though nobody hung
        up: the other side has forgotten these connections. New ones work.
        """
        self._do(self._strand)

    def reset(self) -> None:
        """All connections break at once; new ones work."""
        self._do(self._reset)

    def cut(self) -> None:
        """All connections break, and there are no new ones."""
        self._do(self._cut)

    def mend(self) -> None:
        """All as it was. What was frozen comes through now, and what was stranded is gone:
        a new connection might get the number of an old one, and would be deaf as well.
        """
        self._delay = 0.0
        self._do(self._mend)

    # -- on its own thread

    def _do(self, verb: Callable[[], Awaitable[Value]]) -> Value:
        async def done() -> Value:
            return await verb()

        return asyncio.run_coroutine_threadsafe(done(), self._loop).result(10)

    async def _listen(self) -> None:
        self._gate = asyncio.Event()
        self._gate.set()
        self._server = await asyncio.start_server(self._serve, ADDRESS, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            theirs, ours = await asyncio.open_connection(ADDRESS, self.target)
        except OSError:
            abort(writer)
            return
        self._writers |= {writer, ours}
        self._callers.add(writer)
        ways = [self._pass_on(reader, ours), self._pass_on(theirs, writer)]
        self._tasks |= {asyncio.ensure_future(way) for way in ways}

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with suppress(OSError):
            while some := await reader.read(AT_ONCE):
                if self._delay:
                    await asyncio.sleep(self._delay)
                await self._gate.wait()
                self.passed_on += len(some)
                self.asked += writer not in self._callers
                writer.write(some)
                await writer.drain()
        await self._gate.wait()
        if writer not in self._stranded:
            writer.close()
        self._writers.discard(writer)
        self._callers.discard(writer)

    async def _close_gate(self) -> None:
        self._gate.clear()

    async def _strand(self) -> None:
        for writer in self._callers:
            make_deaf(writer)
        self._stranded |= self._callers
        self._writers -= self._callers
        self._callers.clear()
        await self._reset()

    async def _reset(self) -> None:
        for writer in self._writers:
            abort(writer)
        self._writers.clear()
        self._callers.clear()

    async def _cut(self) -> None:
        self._server.close()
        await self._reset()

    async def _mend(self) -> None:
        self._gate.set()
        for writer in self._stranded:
            abort(writer)
        self._stranded.clear()
        if not self._server.is_serving():
            await self._listen()

    async def _end(self) -> None:
        self._writers |= self._stranded
        await self._cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def make_deaf(writer: asyncio.StreamWriter) -> None:
    """The kernel drops whatever comes for this connection."""
    drop_all = ctypes.create_string_buffer(struct.pack("HBBI", RETURN, 0, 0, 0))
    program = struct.pack("HP", 1, ctypes.addressof(drop_all))
    line = writer.get_extra_info("socket")
    line.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


def abort(writer: asyncio.StreamWriter) -> None:
    """End a connection as a crash does: the other side is told that it was reset."""
    line = writer.get_extra_info("socket")
    linger = struct.pack("ii", 1, 0)
    with suppress(OSError):
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()
