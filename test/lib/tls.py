"""Certificates for tests, and clients and servers that speak TLS."""
import os
import ssl
import subprocess

from lib.client import Client, Closed

KINDS = {
    "ec": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "rsa": ["-newkey", "rsa:2048"],
}


def openssl(*args, data=None):
    done = subprocess.run(["openssl", *map(str, args)], input=data, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


class Pair:
    """A certificate and its key, in files."""

    def __init__(self, certificate, key):
        self.certificate, self.key = certificate, key

    def __str__(self):
        return f"{self.certificate} {self.key}"

    def der(self):
        return ssl.PEM_cert_to_DER_cert(self.certificate.read_text())


class Authority:
    """A CA of its own in a folder. issue(...) gives a Pair that it has signed."""

    def __init__(self, folder, name="weir test CA"):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.certificate, self.key = folder / "ca.pem", folder / "ca.key"
        self.count = 0
        openssl("req", "-x509", *KINDS["ec"], "-nodes", "-days", 30, "-subj", f"/CN={name}", "-keyout", self.key,
                "-out", self.certificate, "-addext", "keyUsage=critical,keyCertSign,cRLSign")

    def issue(self, *names, kind="ec", days=30, subject=None, file=None, more="", chain=False):
        """names: DNS names, or addresses as IP:127.0.0.1. file: the name of the files, to replace others.
        more: extensions. chain: the authority's own certificate comes behind it."""
        self.count += 1
        stem = self.folder / (file or f"{self.count}")
        pair = Pair(stem.with_suffix(".pem"), stem.with_suffix(".key"))
        request, extensions = stem.with_suffix(".csr"), stem.with_suffix(".ext")
        alt = ",".join(n if n.startswith("IP:") else f"DNS:{n}" for n in names)
        extensions.write_text((f"subjectAltName={alt}\n" if alt else "") + f"basicConstraints=CA:FALSE\n{more}")
        key, certificate = stem.with_suffix(".key.new"), stem.with_suffix(".pem.new")
        openssl("req", "-new", *KINDS[kind], "-nodes", "-keyout", key, "-out", request,
                "-subj", subject or f"/CN={names[0] if names else 'nobody'}")
        openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial",
                "-days", days, "-extfile", extensions, "-out", certificate)
        if chain:
            certificate.write_text(certificate.read_text() + self.certificate.read_text())
        os.replace(key, pair.key)
        os.replace(certificate, pair.certificate)
        return pair

    def index(self, *pairs, revoked=()):
        """A file as `openssl ca` keeps it, which says what has become of them: for `openssl ocsp`."""
        path = self.folder / "index.txt"
        lines = []
        for pair in pairs:
            serial = openssl("x509", "-in", pair.certificate, "-noout", "-serial").decode().strip().partition("=")[2]
            state = "R\t400101000000Z\t250101000000Z" if pair in revoked else "V\t400101000000Z\t"
            lines.append(f"{state}\t{serial}\tunknown\t/CN=x\n")
        path.write_text("".join(lines))
        return ["-index", path, "-rsigner", self.certificate, "-rkey", self.key, "-CA", self.certificate]

    def ocsp(self, pair, path, *, revoked=False):
        """Writes an answer about it, good for a day."""
        request = self.folder / "request.der"
        openssl("ocsp", "-issuer", self.certificate, "-cert", pair.certificate, "-reqout", request)
        openssl("ocsp", *self.index(pair, revoked=(pair,) if revoked else ()), "-reqin", request, "-ndays", 1,
                "-respout", path.with_suffix(".new"))
        os.replace(path.with_suffix(".new"), path)
        return path

    @staticmethod
    def ends(pair):
        """`Jan  5 09:34:43 2027 GMT`"""
        return openssl("x509", "-in", pair.certificate, "-noout", "-enddate").decode().strip().partition("=")[2]

    def client(self, pair=None, **settings):
        """A context that believes this authority."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        if pair:
            context.load_cert_chain(pair.certificate, pair.key)
        for name, value in settings.items():
            setattr(context, name, value)
        return context

    def server(self, pair, clients=False):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        if clients:
            context.load_verify_locations(str(self.certificate))
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def believing():
    """A context that believes anybody."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def strict(context):
    """An end without close_notify is an error, which Python would pass over."""
    context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 1 << 7)
    return context


class TlsClient(Client):
    """lib.client.Client over TLS. session: of an earlier one."""

    def __init__(self, address, context=None, name="localhost", timeout=10, session=None, first=b""):
        super().__init__(address, timeout)
        if first:
            self.socket.sendall(first)
        self.cut = False  # it was closed without close_notify
        self.socket = strict(context or believing()).wrap_socket(self.socket, server_hostname=name, session=session,
                                                           suppress_ragged_eofs=False)

    def more(self):
        try:
            data = self.socket.recv(65536)
        except (ConnectionResetError, ssl.SSLEOFError):
            self.cut, data = True, b""
        if not data:
            raise Closed(self.buffer)
        self.buffer += data

    def read_exactly(self, size):
        while len(self.buffer) < size:
            self.more()
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def finish(self):
        raise NotImplementedError("python's ssl cannot close one side only")

    def peer_der(self):
        return self.socket.getpeercert(binary_form=True)


def over_tls(context, script, handshakes=None):
    """A script for lib.servers.Scripted that is served over TLS; `handshakes` gets what each was like."""

    def serve(peer):
        try:
            peer.socket = context.wrap_socket(peer.socket, server_side=True)
        except (ssl.SSLError, OSError):
            return
        if handshakes is not None:
            handshakes.append({"version": peer.socket.version(), "resumed": peer.socket.session_reused})
        try:
            if callable(script):
                script(peer)
            else:
                while peer.read_request():
                    peer.send(script)
        except ssl.SSLError:
            pass

    return serve


def s_client(port, *args, data=b"", timeout=20):
    """What `openssl s_client` prints."""
    done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *map(str, args)], input=data,
                          capture_output=True, timeout=timeout)
    return (done.stdout + done.stderr).decode("latin-1")


def fingerprint(pair):
    text = openssl("x509", "-in", pair.certificate, "-noout", "-fingerprint", "-sha256").decode()
    return text.partition("=")[2].strip().replace(":", "").lower()
