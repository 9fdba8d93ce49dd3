"""Keys, key sets and signed tokens (RFC 7515 to 7519), made by Python's cryptography."""
import base64
import json
import time
from functools import cached_property

from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
CURVES = {"256": (ec.SECP256R1(), "P-256", 32), "384": (ec.SECP384R1(), "P-384", 48), "512": (ec.SECP521R1(), "P-521", 66)}


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value, size=None):
    return b64(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


class Key:
    """One private key for one algorithm, made when it is first asked for; jwk is its public half (a secret's all of it)."""

    def __init__(self, alg, kid):
        self.alg, self.kid = alg, kid
        self.kind, self.size = alg[:2], alg[2:]

    @cached_property
    def key(self):
        if self.kind in ("RS", "PS"):
            return rsa.generate_private_key(65537, 2048)
        if self.kind == "ES":
            return ec.generate_private_key(CURVES[self.size][0])
        return ed25519.Ed25519PrivateKey.generate() if self.kind == "Ed" else bytes(range(64))

    @property
    def jwk(self):
        return {**self._members(), "kid": self.kid}

    def _members(self):
        if self.kind == "HS":
            return {"kty": "oct", "k": b64(self.key)}
        public = self.key.public_key()
        if self.kind == "Ed":
            return {"kty": "OKP", "crv": "Ed25519", "x": b64(public.public_bytes(Encoding.Raw, PublicFormat.Raw))}
        numbers = public.public_numbers()
        if self.kind == "ES":
            _, name, size = CURVES[self.size]
            return {"kty": "EC", "crv": name, "x": number(numbers.x, size), "y": number(numbers.y, size)}
        return {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e)}

    def pem(self):
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def sign(self, data):
        if self.kind == "RS":
            return self.key.sign(data, padding.PKCS1v15(), HASHES[self.size])
        if self.kind == "PS":
            digest = HASHES[self.size]
            return self.key.sign(data, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
        if self.kind == "ES":
            r, s = utils.decode_dss_signature(self.key.sign(data, ec.ECDSA(HASHES[self.size])))
            size = CURVES[self.size][2]
            return r.to_bytes(size, "big") + s.to_bytes(size, "big")
        if self.kind == "Ed":
            return self.key.sign(data)
        return mac(self.key, data, self.size)

    def token(self, header=None, sign=None, **claims):
        """exp is in an hour unless it is said; None leaves a claim out."""
        head = {"alg": self.alg, "typ": "JWT", "kid": self.kid, **(header or {})}
        body = {"sub": "alice", "exp": int(time.time()) + 3600, **claims}
        text = ".".join(b64(json.dumps({k: v for k, v in part.items() if v is not None}).encode()) for part in (head, body))
        return f"{text}.{b64((sign or self.sign)(text.encode()))}"


def mac(secret, data, size="256"):
    h = hmac.HMAC(secret, HASHES[size])
    h.update(data)
    return h.finalize()


def key_set(*keys):
    return json.dumps({"keys": [k.jwk for k in keys]})
