"""HTTP/3 as clients see it: ngtcp2's gtlsclient, and what stands between it and weir on the way."""
import base64
import os
import re
import shutil
import socket
import threading

import pytest

from lib.process import Process, wait_until

GTLSCLIENT = shutil.which("gtlsclient")
FIELD = re.compile(r"^http: stream (0x[0-9a-f]+) \[(:?[^:]+): (.*)\]$", re.M)
TRAILER = re.compile(r"^http: stream (0x[0-9a-f]+) trailers started", re.M)
INITIAL_BYTES_MIN = 1200


def needs_client():
    if not GTLSCLIENT:
        pytest.skip("gtlsclient (package ngtcp2-client) is not installed")


class Answer:
    def __init__(self):
        self.heads = []  # [[(name, value), ...], ...]: interim ones, the final one, trailers

    @property
    def status(self):
        return int(self.get(":status"))

    @property
    def final(self):
        return next(h for h in self.heads if h[0][0] == ":status" and not h[0][1].startswith("1"))

    def get(self, name):
        return next((v for n, v in self.final if n == name), None)


class Http3(Process):
    """One connection that asks for paths, all at once. answers() when it has ended. stay: it does not close it."""

    def __init__(self, folder, port, *paths, args=(), host="127.0.0.1", name="localhost", stay=False, env=None):
        needs_client()
        self.number = len(list(folder.glob("http3-*.log")))
        self.bodies = folder / f"http3-{self.number}"
        self.bodies.mkdir()
        uris = [f"https://{name}{p}" for p in paths]
        leave = ["--timeout=60s"] if stay else ["--exit-on-all-streams-close"]
        super().__init__([GTLSCLIENT, *leave, "--no-quic-dump", "--no-http-dump",
                          f"--download={self.bodies}", *args, host, port, *uris], folder / f"http3-{self.number}.log",
                         env={**os.environ, **(env or {})})

    def answers(self, seconds=30):
        self.wait(seconds)
        found = {}
        log = self.log()
        for line in log.splitlines():
            if match := re.match(r"http: stream (0x[0-9a-f]+) (response headers|trailers) started", line):
                found.setdefault(match[1], Answer()).heads.append([])
            elif (match := FIELD.match(line)) and match[1] in found:
                found[match[1]].heads[-1].append((match[2], match[3]))
        return [a for _, a in sorted(found.items(), key=lambda i: int(i[0], 16)) if any(a.heads)]

    def answer(self, seconds=30):
        answers = self.answers(seconds)
        assert len(answers) == 1, self.log()[-5000:]
        return answers[0]

    def body(self, path):
        return (self.bodies / os.path.basename(path)).read_bytes()

    def began(self, seconds=20):
        """Until its handshake is complete."""
        self.wait_log("QUIC handshake has completed", seconds)
        return self


class Relay:
    """UDP between a client and weir. paths: over how many addresses the client's datagrams come, one after the other.
    Records what the client sent and was sent."""

    def __init__(self, port, paths=1, until=None):
        self.to = ("127.0.0.1", port)
        self.front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.front.bind(("127.0.0.1", 0))
        self.port = self.front.getsockname()[1]
        self.sent, self.received = [], []
        self.client = None
        self.paths = paths
        self.until = until  # what the client sends is passed on up to the first datagram for which this is true
        self.deaf = False  # while it is, what the client sends is lost
        self.dumb = False  # while it is, what weir sends is
        self.sent_max = self.received_max = 65536  # bytes: what is larger is lost
        self.open = True
        self.backs, self.left = [], []
        self.way = 0  # of backs: where the client is
        self.short = 0  # datagrams of an established connection
        self.back()
        threading.Thread(target=self._forth, daemon=True).start()

    def back(self):
        """Another address for the client."""
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.connect(self.to)
        self.backs.append(s)
        threading.Thread(target=self._back, args=(s,), daemon=True).start()

    def _wander(self):
        """Every few datagrams, while there is somewhere to go."""
        self.short += 1
        if self.short % 8 == 0 and len(self.backs) < self.paths:
            self.back()
            self.way = len(self.backs) - 1

    def move(self):
        """From here on the client comes from another address; what weir still sends to those before is lost."""
        self.left = list(self.backs)
        self.back()
        self.way = len(self.backs) - 1

    def _forth(self):
        try:
            while True:
                data, self.client = self.front.recvfrom(65536)
                if not data:
                    return
                if self.deaf or len(data) > self.sent_max or (self.until and self.sent and self.until(self.sent[-1])):
                    continue
                self.sent.append(data)
                if not data[0] & 0x80:
                    self._wander()
                try:
                    self.backs[self.way].send(data)
                except ConnectionRefusedError:
                    pass  # told of an earlier datagram
        except OSError:
            return

    def _back(self, s):
        while self.open:
            try:
                data = s.recv(65536)
                if data:
                    self.received.append(data)
                if self.client and data and not self.dumb and s not in self.left and len(data) <= self.received_max:
                    self.front.sendto(data, self.client)
            except ConnectionRefusedError:
                continue
            except OSError:
                return

    def close(self):
        self.open = False
        for s in [self.front, *self.backs]:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            s.close()


class Raw:
    """A socket for datagrams that no client would send."""

    def __init__(self, port, timeout=20):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect(("127.0.0.1", port))
        self.socket.settimeout(timeout)

    def send(self, data):
        self.socket.send(data)

    def ask(self, data):
        self.send(data)
        return self.socket.recv(65536)

    def nothing_came(self):
        """Of all that was sent before something that is answered."""
        self.socket.setblocking(False)
        try:
            return self.socket.recv(65536) and False
        except BlockingIOError:
            return True
        finally:
            self.socket.settimeout(20)

    def close(self):
        self.socket.close()


def version_probe(size=INITIAL_BYTES_MIN, version=b"\x1a\x2a\x3a\x4a"):
    """A packet of a version that nobody has, with 8 byte ids."""
    return (b"\xc0" + version + b"\x08" + b"destined" + b"\x08" + b"sourceid").ljust(size, b"\0")


INITIAL_SALT = bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a")  # RFC 9001 5.2


def _expand(secret, label, size):
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
    label = b"tls13 " + label
    info = size.to_bytes(2, "big") + bytes([len(label)]) + label + b"\0"
    return HKDFExpand(hashes.SHA256(), size, info).derive(secret)


def initial(destined, source=b"sourceid", token=b"", frames=b"\x01"):
    """A good Initial packet that says little (PING): the beginning of a handshake that does not go on."""
    import hmac

    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    secret = _expand(hmac.digest(INITIAL_SALT, destined, "sha256"), b"client in", 32)
    key, iv, hp = (_expand(secret, label, size) for label, size in ((b"quic key", 16), (b"quic iv", 12), (b"quic hp", 16)))
    head = (b"\xc3" + b"\0\0\0\1" + bytes([len(destined)]) + destined + bytes([len(source)]) + source
            + (0x4000 | len(token)).to_bytes(2, "big") + token)
    payload = frames.ljust(INITIAL_BYTES_MIN - len(head) - 2 - 4 - 16, b"\0")
    head += (0x4000 | 4 + len(payload) + 16).to_bytes(2, "big") + bytes(4)
    body = AESGCM(key).encrypt(iv, payload, head)
    mask = Cipher(algorithms.AES(hp), modes.ECB()).encryptor().update(body[:16])
    head = bytes([head[0] ^ mask[0] & 0x0f]) + head[1:-4] + bytes(a ^ b for a, b in zip(head[-4:], mask[1:5]))
    return head + body


def retry_token(packet, source=b"sourceid"):
    """Of a Retry packet: the id to use from now on, and the token."""
    assert packet[0] & 0xf0 == 0xf0 and packet[5:6 + len(source)] == bytes([len(source)]) + source, packet[:40]
    at = 6 + len(source)
    return packet[at + 1:at + 1 + packet[at]], packet[at + 1 + packet[at]:-16]


def certificate(folder, names=()):
    """(certificate, key) of localhost (and names), PEM files made once a folder."""
    from datetime import datetime, timedelta, timezone
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    chain, key_path = folder / "cert.pem", folder / "key.pem"
    if chain.exists():
        return chain, key_path
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(timezone.utc)
    all_names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1")), *map(x509.DNSName, names)]
    made = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=10)).add_extension(x509.SubjectAlternativeName(all_names), False)
            .sign(key, hashes.SHA256()))
    chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                           serialization.NoEncryption()))
    return chain, key_path


def spki(chain):
    """What a browser is told to take a certificate by."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    key = x509.load_pem_x509_certificate(chain.read_bytes()).public_key()
    digest = hashes.Hash(hashes.SHA256())
    digest.update(key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo))
    return base64.b64encode(digest.finalize()).decode()


def tls_listener(folder, port, http3="", tls=None):
    """A listener with HTTP/3, as the configuration has it. http3: its settings; tls: instead of the certificate's."""
    chain, key = certificate(folder)
    tls = tls or f"{{certificate: {chain}, key: {key}}}"
    return f"{{address: '127.0.0.1:{port}', tls: {tls}, http3: {'{' + http3 + '}' if http3 else 'true'}}}"


def udp_bound(port):
    """Whether some socket takes datagrams there."""
    from pathlib import Path
    wanted = f":{port:04X}"
    return any(line.split()[1].endswith(wanted) for table in ("/proc/net/udp", "/proc/net/udp6")
               for line in Path(table).read_text().splitlines()[1:])


def udp_waiting(port):
    """Bytes that sockets there have not yet been asked for."""
    from pathlib import Path
    return sum(int(line.split()[4].split(":")[1], 16) for line in Path("/proc/net/udp").read_text().splitlines()[1:]
               if line.split()[1].endswith(f":{port:04X}"))


def wait_connections(gate, count, seconds=20):
    wait_until(lambda: gate.metric("weir_quic_connections") == count, seconds, f"{count} connections")
