"""The shop's side of weir's ledger: a few requests over its unix socket (or a TCP address). The standard library alone."""
import http.client
import json
import socket
import urllib.parse


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=10)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Ledger:
    """address: unix:/path or host:port. One thread; connects anew when it has to."""

    def __init__(self, address):
        self.address = address
        self.connection = None

    def ask(self, method, path, body=None):
        """(status, the JSON of the answer). OSError, http.client.HTTPException: there was none."""
        if not self.connection:
            unix = self.address.startswith("unix:")
            self.connection = UnixConnection(self.address[5:]) if unix else http.client.HTTPConnection(self.address, timeout=10)
        try:
            self.connection.request(method, path, json.dumps(body) if body else None, {"Content-Type": "application/json"})
            answer = self.connection.getresponse()
            return answer.status, json.loads(answer.read() or b"{}")
        except (OSError, http.client.HTTPException):
            self.connection.close()
            self.connection = None
            raise

    def publish(self, topic, key, what):
        """A message of JSON; 201: it is safe."""
        message = {"key": key, "headers": {"content-type": "application/json"}, "body": json.dumps(what)}
        return self.ask("POST", f"/v1/topics/{topic}/messages", message)[0]

    def move(self, order, move):
        """confirm, deliver ...: (status, answer)"""
        return self.ask("POST", f"/v1/orders/{urllib.parse.quote(order, safe='')}/{move}")
