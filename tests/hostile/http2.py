"""A client that speaks HTTP/2 by prior knowledge, and can send frames that no honest client does."""

import contextlib
import socket
import struct
import time

import h2.config
import h2.connection
import h2.events
import h2.exceptions
from h2.settings import SettingCodes, Settings

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADERS, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION = 0x1, 0x3, 0x4, 0x6, 0x8, 0x9
END_STREAM, END_HEADERS = 0x1, 0x4


def frame(kind, flags, stream, payload=b""):
    """A frame, whatever stands in it."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def headers(method, path, more=()):
    return [(":method", method), (":path", path), (":scheme", "http"), (":authority", "localhost"), *more]


class Client:
    """A connection with the state that HTTP/2 needs. Windows are given back only by `read`."""

    def __init__(self, server, window=None, timeout=30):
        self.socket = server.connect(timeout)
        self.state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8",
                                                                          validate_outbound_headers=False))
        if window is not None:
            self.state.local_settings = Settings(initial_values={SettingCodes.INITIAL_WINDOW_SIZE: window})
        self.state.initiate_connection()
        self.answers, self.is_over = {}, False
        self.flush()

    def flush(self):
        self.socket.sendall(self.state.data_to_send())

    def request(self, method, path, body=None, more=(), ends=True):
        """Sends a request, or the beginning of one; the number of its stream. As much of the body goes as the server's windows let."""
        stream = self.state.get_next_available_stream_id()
        self.state.send_headers(stream, headers(method, path, more), end_stream=body is None and ends)
        rest = body or b""
        while rest:
            n = min(self.state.local_flow_control_window(stream), self.state.max_outbound_frame_size, len(rest))
            if n <= 0:
                break
            self.state.send_data(stream, rest[:n], end_stream=ends and n == len(rest))
            rest = rest[n:]
        self.flush()
        return stream

    def read(self, stream, seconds=30):
        """Status and body of an answer; `None` for both where the stream or the connection ended without one."""
        until = time.monotonic() + seconds
        self.answers.setdefault(stream, [None, b"", False])
        while not self.answers[stream][2] and not self.is_over and time.monotonic() < until:
            self.receive(until - time.monotonic())
        status, body, is_whole = self.answers[stream]
        return (status, body) if is_whole else (status, None)

    def receive(self, seconds):
        """Takes what has come, and gives back the windows."""
        self.socket.settimeout(max(seconds, 0.001))
        try:
            data = self.socket.recv(1 << 20)
        except TimeoutError:
            return
        except OSError:
            data = b""
        if not data:
            self.is_over = True
            return
        try:
            events = self.state.receive_data(data)
        except h2.exceptions.ProtocolError:
            self.is_over = True
            return
        for event in events:
            answer = self.answers.setdefault(getattr(event, "stream_id", None), [None, b"", False])
            if isinstance(event, h2.events.ResponseReceived):
                answer[0] = int(dict(event.headers)[":status"])
            elif isinstance(event, h2.events.DataReceived):
                answer[1] += event.data
                if event.flow_controlled_length:
                    self.state.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                answer[2] = True
            elif isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)):
                self.is_over = self.is_over or isinstance(event, h2.events.ConnectionTerminated)
                answer[2] = answer[2] or answer[0] is not None
        with contextlib.suppress(OSError):
            self.flush()

    def ask(self, method, path, body=None, more=()):
        return self.read(self.request(method, path, body, more))

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def flood(server, chunks, seconds=30):
    """Sends the preface and then bytes, of which nothing that comes back is read: how many bytes were sent, and whether the server closed
    the connection or stopped reading."""
    sent = 0
    with server.connect(2) as connection:
        until = time.monotonic() + seconds
        try:
            connection.sendall(PREFACE + frame(SETTINGS, 0, 0))
            for chunk in chunks:
                connection.sendall(chunk)
                sent += len(chunk)
                if time.monotonic() > until:
                    return sent, "took it all"
        except TimeoutError:
            return sent, "stopped reading"
        except OSError:
            return sent, "closed the connection"
        return sent, "took it all"


def waits_for_end(connection, seconds):
    """How long it takes until the server closes a connection, in seconds; `None` where it does not in time."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        connection.settimeout(max(0.001, began + seconds - time.monotonic()))
        try:
            if not connection.recv(1 << 16):
                return time.monotonic() - began
        except TimeoutError:
            return None
        except OSError:
            return time.monotonic() - began
    return None
