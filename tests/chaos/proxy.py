"""Cut, stall, slow or refuse connections, by a small TCP proxy that all of them go through."""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

CHUNK = 65_536


class Proxy:
    """Forwards each connection to `port` of this machine to a server's unix socket."""

    def __init__(self, port: int, server: Path) -> None:
        self.port, self.server = port, server
        self.delay_seconds = 0.0
        self.refuses = False
        self._loop = asyncio.new_event_loop()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._writers: set[asyncio.StreamWriter] = set()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._do(self._listen())

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def cut(self) -> None:
        """Break all connections."""
        self._do(self._cut())

    def stall(self) -> None:
        """Keep the connections open, and pass nothing on until `heal`."""
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def slow(self, seconds: float) -> None:
        """Delay each packet by so many seconds, until `heal`."""
        self.delay_seconds = seconds

    def refuse(self) -> None:
        """Break all connections and accept no new one, until `heal`."""
        self.refuses = True
        self.cut()

    def heal(self) -> None:
        """Forward everything at once again."""
        self.delay_seconds, self.refuses = 0.0, False
        self._loop.call_soon_threadsafe(self._flowing.set)

    async def _listen(self) -> None:
        await asyncio.start_server(self._forward, "127.0.0.1", self.port)

    async def _cut(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = [writer]
        self._writers.add(writer)
        with contextlib.suppress(OSError):
            if not self.refuses:
                server_reader, server_writer = await asyncio.open_unix_connection(str(self.server))
                ends.append(server_writer)
                self._writers.add(server_writer)
                await asyncio.gather(self._pump(reader, server_writer), self._pump(server_reader, writer))
        for end in ends:
            self._writers.discard(end)
            end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                await self._flowing.wait()
                if self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                writer.write(data)
                await writer.drain()
        writer.close()
