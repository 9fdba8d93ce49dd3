#!/usr/bin/env python3
"""A small shop server for the flash-sale example: the Python standard library and nothing else.

    GET  /, /shop.css, /shop.js    the product page
    GET  /api/product              what is sold, how much of it this server has left, what it has delivered
    POST /api/pay/ORDER            takes the money for an order that weir holds, and tells weir's ledger
    POST /api/buy                  one order out of this server's own shelf: what a shop without a ledger does
    GET  /healthz                  200, or 503 while the server was told to fail

Three switches make a server sick on purpose. They answer only to a request that did not come through a proxy
(no X-Forwarded-For and no Via), so that a visitor of the shop cannot press them:

    POST /api/slow?ms=800          every /api/ answer takes 800 ms from now on; 0 ends it
    POST /api/fail?on=1            /api/ and /healthz answer 503; on=0 ends it
    POST /api/restock?left=1000    fills the shelf

With --ledger it also works for the ledger, which pushes messages to it as fast as it takes them; each is delivered until it
is answered with 2xx, so what this server had in hand when it dies goes to another one:

    POST /jobs/order               an order that weir holds: here the customer would get a mail
    POST /jobs/delivery            a paid order: delivered, at this server's own pace (--pace)
"""
import argparse
import http.client
import http.server
import json
import pathlib
import secrets
import signal
import sys
import threading
import time
import urllib.parse

from ledger_client import Ledger

FOLDER = pathlib.Path(__file__).resolve().parent
PAGES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/shop.css": ("shop.css", "text/css; charset=utf-8"),
    "/shop.js": ("shop.js", "text/javascript; charset=utf-8"),
}
BODY_BYTES_MAX = 64 * 1024


class Shop:
    """What one server knows. Many threads; the lock protects all of it and is never held while waiting."""

    def __init__(self, name, stock):
        self.name = name
        self.lock = threading.Lock()
        self.left = stock
        self.slow_ms = 0
        self.failing = False
        self.delivered = 0
        self.received = 0

    def take_one(self):
        """How many are left after this order, or None when there was none."""
        with self.lock:
            if self.left == 0:
                return None
            self.left -= 1
            return self.left


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 120  # longer than weir keeps an idle upstream connection
    wbufsize = -1  # head and body leave in one send
    disable_nagle_algorithm = True

    def version_string(self):
        return "shop"

    @property
    def shop(self):
        return self.server.shop

    def do_GET(self):
        path = urllib.parse.urlsplit(self.path).path
        if path in PAGES:
            name, kind = PAGES[path]
            self.answer(200, (FOLDER / name).read_bytes(), kind)
        elif path == "/healthz":
            self.answer_json(503 if self.shop.failing else 200, {"ok": not self.shop.failing})
        elif path == "/api/product":
            if self.is_well():
                self.answer_json(200, {"name": "Tern R1", "price": "39.00", "was": "79.00", "currency": "EUR",
                                       "left_here": self.shop.left, "received_here": self.shop.received,
                                       "delivered_here": self.shop.delivered})
        else:
            self.answer_json(404, {"error": "no such page"})

    do_HEAD = do_GET

    def do_POST(self):
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        body = self.read_body()
        if body is None:
            return
        if url.path == "/api/buy":
            self.buy()
        elif url.path.startswith("/api/pay/"):
            self.pay(urllib.parse.unquote(url.path[len("/api/pay/"):]))
        elif url.path == "/jobs/order":
            self.receive()
        elif url.path == "/jobs/delivery":
            self.deliver(body)
        elif url.path in ("/api/slow", "/api/fail", "/api/restock"):
            self.switch(url.path, query)
        else:
            self.answer_json(404, {"error": "no such page"})

    def read_body(self):
        """None: there was none that it takes, and that is answered."""
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not length.isdecimal() or int(length) > BODY_BYTES_MAX:
            self.close_connection = True
            self.answer_json(413, {"error": "the body must be short and have a Content-Length"})
            return None
        return self.rfile.read(int(length))

    def buy(self):
        if not self.is_well():
            return
        left = self.shop.take_one()
        if left is None:
            self.answer_json(409, {"error": "sold out on this server", "left_here": 0})
            return
        self.answer_json(200, {"order": secrets.token_hex(4), "left_here": left})

    def pay(self, order):
        """Here the card would be charged. The ledger's word decides: an order that has expired is not paid. Then it is to be
        delivered; when that could not be said the customer's page says all of it again."""
        if not self.is_well():
            return
        if not self.server.ledger:
            self.answer_json(404, {"error": "this server knows no ledger"})
            return
        try:
            ledger = Ledger(self.server.ledger)
            status, answer = ledger.move(order, "confirm")
            if status == 200 and ledger.publish("deliveries", order, {"order": order}) != 201:
                status, answer = 503, {"error": "the delivery could not be ordered"}
        except (OSError, http.client.HTTPException):
            status, answer = 503, {"error": "the ledger does not answer"}
        self.answer_json(status, answer)

    def receive(self):
        with self.shop.lock:
            self.shop.received += 1
        self.answer_json(200, {})

    def deliver(self, body):
        """Some work, then the ledger is told; a delivery that was told before counts once."""
        try:
            order = json.loads(body)["order"]
            time.sleep(self.server.pace_s)
            status, answer = Ledger(self.server.ledger).move(order, "deliver")
        except (ValueError, KeyError):
            status, answer = 400, {}
        except (OSError, http.client.HTTPException):
            status, answer = 503, {}
        with self.shop.lock:
            self.shop.delivered += status == 200 and not answer["done_before"]
        self.answer_json(status, {})

    def switch(self, path, query):
        if "X-Forwarded-For" in self.headers or "Via" in self.headers:
            self.answer_json(403, {"error": "ask the server itself, not through a proxy"})
            return
        value = query.get({"/api/slow": "ms", "/api/fail": "on", "/api/restock": "left"}[path], "")
        if not value.isdecimal() or int(value) > 1_000_000:
            self.answer_json(400, {"error": "a number is missing or too large"})
            return
        with self.shop.lock:
            if path == "/api/slow":
                self.shop.slow_ms = int(value)
            elif path == "/api/fail":
                self.shop.failing = value != "0"
            else:
                self.shop.left = int(value)
        self.answer_json(200, {"slow_ms": self.shop.slow_ms, "failing": self.shop.failing,
                               "left_here": self.shop.left})

    def is_well(self):
        """Takes its time when the server was told to be slow; answers 503 when it was told to fail."""
        if self.shop.slow_ms:
            time.sleep(self.shop.slow_ms / 1000)
        if self.shop.failing:
            self.answer_json(503, {"error": "this server was told to fail"})
            return False
        return True

    def answer_json(self, status, what):
        what["server"] = self.shop.name
        what["request_id"] = self.headers.get("X-Request-Id", "")
        self.answer(status, json.dumps(what).encode() + b"\n", "application/json")

    def answer(self, status, body, kind):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Server", self.shop.name)
        if request_id := self.headers.get("X-Request-Id"):
            self.send_header("X-Request-Id", request_id)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format, *args):
        if self.server.verbose:
            super().log_message(format, *args)


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 512
    daemon_threads = True

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


def main():
    arguments = argparse.ArgumentParser(description="one server of the flash-sale example")
    arguments.add_argument("--port", type=int, required=True)
    arguments.add_argument("--name", required=True, help="sent as X-Server")
    arguments.add_argument("--address", default="127.0.0.1")
    arguments.add_argument("--stock", type=int, default=1000, help="how many this server sells (default 1000)")
    arguments.add_argument("--verbose", action="store_true", help="a line on stderr for each request")
    arguments.add_argument("--ledger", default="", help="where weir's ledger is asked: unix:/path or host:port")
    arguments.add_argument("--pace", type=float, default=0.3, help="seconds that one delivery takes (default 0.3)")
    options = arguments.parse_args()

    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    with Server((options.address, options.port), Handler) as server:
        server.shop = Shop(options.name, options.stock)
        server.verbose = options.verbose
        server.ledger = options.ledger
        server.pace_s = options.pace
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
