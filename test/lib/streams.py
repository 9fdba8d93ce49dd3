"""Servers and clients below HTTP: bytes over TCP, datagrams over UDP."""
import socket
import threading

from lib.ports import free_port

TIMEOUT_S = 30


def receive_all(connection):
    """All that comes until the end; what came before a reset is lost with it."""
    parts = []
    while data := connection.recv(65536):
        parts.append(data)
    return b"".join(parts)


def receive_exactly(connection, n):
    got = b""
    while len(got) < n:
        data = connection.recv(n - len(got))
        if not data:
            raise EOFError(f"ended after {got!r}")
        got += data
    return got


def connect(port, host="127.0.0.1"):
    return socket.create_connection((host, port), timeout=TIMEOUT_S)


def echo(connection, server):
    """Its name in one byte, then whatever comes; at the end of that its own end."""
    connection.sendall(server.name)
    while data := connection.recv(65536):
        connection.sendall(data)


class TcpServer:
    """serve(connection, server) in a thread for each connection, which is closed after it.
    `connections` counts them."""

    def __init__(self, serve=echo, name=b"a", port=None):
        self.port = port or free_port()
        self.name, self.serve = name, serve
        self.connections = 0
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.sockets = set()
        self.listener = socket.create_server(("127.0.0.1", self.port), backlog=1024)
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def _accept(self, listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with self.lock:
                self.connections += 1
                self.sockets.add(connection)
            threading.Thread(target=self._run, args=(connection,), daemon=True).start()

    def _run(self, connection):
        connection.settimeout(TIMEOUT_S)
        try:
            self.serve(connection, self)
        except OSError:
            pass
        with self.lock:
            self.sockets.discard(connection)
        connection.close()

    def stop(self):
        if self.stopping.is_set():
            return
        self.stopping.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        with self.lock:
            for connection in self.sockets:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass


class UdpServer:
    """answer(data, server) gives a list of datagrams for each that comes; its name and the data by default.
    `got` is what came, with from where."""

    def __init__(self, answer=lambda data, server: [server.name + data], name=b"a", port=None):
        self.port = port or free_port()
        self.name, self.answer, self.got = name, answer, []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.socket.bind(("127.0.0.1", self.port))
        self.running = True
        threading.Thread(target=self._run, daemon=True).start()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def _run(self):
        while self.running:
            try:
                data, peer = self.socket.recvfrom(65536)
            except OSError:
                return
            if not self.running:
                break
            self.got.append((data, peer))
            for answer in self.answer(data, self):
                self.socket.sendto(answer, peer)
        self.socket.close()

    def stop(self):
        """The port is free when it returns."""
        if not self.running:
            return
        self.running = False
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.sendto(b"", ("127.0.0.1", self.port))
        while self.socket.fileno() >= 0:
            pass


class UdpClient:
    def __init__(self, port, host="127.0.0.1"):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.connect((host, port))

    def send(self, data):
        self.socket.send(data)

    def receive(self, seconds=TIMEOUT_S):
        self.socket.settimeout(seconds)
        return self.socket.recv(65536)

    def ask(self, data, tries=60):
        """Datagrams may be lost: asks again. The answer to this one."""
        for _ in range(tries):
            self.send(data)
            try:
                while True:
                    got = self.receive(0.4)
                    if got.endswith(data):
                        return got
            except TimeoutError:
                pass
        raise AssertionError(f"no answer to {data!r}")

    def close(self):
        self.socket.close()
