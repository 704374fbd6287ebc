"""The proxy of the fault tests does what it says."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from tests.proxy import ADDRESS, Proxy
from tests.waiting import stays, wait_until

ELSEWHERE = "127.0.0.77"
"""An address of this machine of which nobody else takes a port."""


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that says what it is told."""
    with socket.create_server((ADDRESS, 0)) as server:

        def answer(line: socket.socket) -> None:
            with line:
                try:
                    while some := line.recv(1024):
                        line.sendall(some)
                except OSError:
                    pass

        def serve() -> None:
            while True:
                try:
                    line, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(line,), daemon=True).start()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.fixture
def proxy(echo: int) -> Iterator[Proxy]:
    with Proxy(echo) as proxy:
        yield proxy


@pytest.fixture
def line(proxy: Proxy) -> Iterator[socket.socket]:
    with connect(proxy) as line:
        yield line


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection((ADDRESS, proxy.port), timeout=10)


def says(line: socket.socket, text: bytes) -> bytes:
    line.sendall(text)
    return line.recv(1024)


def test_passes_on(proxy: Proxy, line: socket.socket) -> None:
    assert says(line, b"hello") == b"hello"
    assert proxy.passed_on == 10


def test_counts_what_callers_ask(proxy: Proxy, line: socket.socket) -> None:
    proxy.slow_down(0.01)
    for _ in range(3):
        says(line, b"hello")
    assert proxy.asked == 3


def test_frozen_line_stays_and_goes_on_when_mended(
    proxy: Proxy, line: socket.socket
) -> None:
    assert says(line, b"before") == b"before"
    proxy.freeze()
    line.sendall(b"meanwhile")
    assert stays(lambda: proxy.passed_on == 12)
    proxy.mend()
    assert line.recv(1024) == b"meanwhile"


def test_reset_line_breaks_and_a_new_one_works(
    proxy: Proxy, line: socket.socket
) -> None:
    assert says(line, b"before") == b"before"
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        line.recv(1024)
    with connect(proxy) as another:
        assert says(another, b"after") == b"after"


def test_cut_line_breaks_and_there_is_no_new_one_until_it_is_mended(
    proxy: Proxy, line: socket.socket
) -> None:
    assert says(line, b"before") == b"before"
    port = proxy.port
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        line.recv(1024)
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    proxy.mend()
    assert proxy.port == port
    with connect(proxy) as another:
        assert says(another, b"after") == b"after"


def test_stranded_line_is_silent_and_a_new_one_works(
    proxy: Proxy, line: socket.socket
) -> None:
    assert says(line, b"before") == b"before"
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 500)
    proxy.strand()
    with pytest.raises(TimeoutError):
        # The kernel's: TCP itself has had no answer.
        says(line, b"into the blue")
    with connect(proxy) as another:
        assert says(another, b"after") == b"after"


def test_number_of_a_stranded_line_is_free_once_all_is_mended(proxy: Proxy) -> None:
    line = socket.create_connection((ADDRESS, proxy.port), 5, (ELSEWHERE, 0))
    assert says(line, b"before") == b"before"
    number = line.getsockname()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    proxy.strand()
    line.close()
    proxy.mend()
    with socket.create_connection((ADDRESS, proxy.port), 5, number) as another:
        assert says(another, b"after") == b"after"


def test_slow_line_passes_everything_on(proxy: Proxy, line: socket.socket) -> None:
    proxy.slow_down(0.05)
    line.sendall(b"slow")
    assert stays(lambda: proxy.passed_on == 0, during=0.02)
    wait_until(lambda: proxy.passed_on == 8)
    assert line.recv(1024) == b"slow"


def test_end_of_one_side_is_passed_on(proxy: Proxy, line: socket.socket) -> None:
    assert says(line, b"last") == b"last"
    line.shutdown(socket.SHUT_WR)
    assert line.recv(1024) == b""
