"""doc/resp.md, against the running program: the same commands to weir and to a real Redis beside it, answers equal."""
import os
import random
import shutil
import signal
import subprocess
import threading

import pytest

from lib.ports import free_port, listening
from lib.process import wait_until
from lib.resp import CONF, Error, Resp, ledger, redis  # noqa: F401
from lib.weir import run

# ---- the same as Redis

SAME = """
PING|PING hello|ECHO x|PING a b|SELECT 0|SELECT x|DBSIZE
GET none|SET k v|GET k|SET k w NX|SET k w XX|SET k x GET|SET k y NX GET|SET l 1 XX|SET k v EX 0|SET k v EX -1|SET k v EX x
SET k v EX 100 PX 100|SET k v KEEPTTL EX 1|SET k v NX XX|SET k v FOO|SET k v EX|SET k|GET|GET a b|SET k v EX 100|TTL k
SET k v2 KEEPTTL|TTL k|SET k v3|TTL k|PTTL none|TTL none|SET k v PXAT 1|EXISTS k|SET k v EXAT 99999999999|EXPIRETIME k
PEXPIRETIME k|PERSIST k|PERSIST k|EXPIRETIME k|EXPIRETIME none|SET k v EX 9223372036854775807|SETEX k 0 v|SETEX k 50 v
TTL k|PSETEX k 50000 v|TTL k|SETNX k v|SETNX n v|DEL k n none|MSET a 1 b 2 c 3|MGET a b none c|MSET a|MSET a 1 b
MSETNX c 1 d 2|MSETNX d 1 e 2|EXISTS a b none a|DEL a b c d e|UNLINK a|TOUCH a
INCR i|INCRBY i 10|DECR i|DECRBY i 5|INCRBY i x|INCR i x|DECRBY i -9223372036854775808|SET i 9223372036854775807|INCR i
SET i 01|INCR i|SET i abc|INCR i|INCRBYFLOAT f 10.5|INCRBYFLOAT f 0.1|INCRBYFLOAT f 5.0e3|INCRBYFLOAT f x|INCRBYFLOAT f -5200
INCRBYFLOAT i 1|GET f|APPEND s abc|APPEND s def|STRLEN s|GET s|STRLEN none|GETSET s new|GETSET none2 x|GETDEL s|GETDEL s
SET k v|GETEX k EX 100|TTL k|GETEX k PERSIST|TTL k|GETEX k|GETEX none|GETEX k EX 0|GETEX k FOO|GETEX k EX 10 PERSIST
EXPIRE k 100 NX|EXPIRE k 50 NX|EXPIRE k 50 GT|EXPIRE k 200 GT|EXPIRE k 300 LT|EXPIRE k 100 XX|EXPIRE k 10 NX XX|EXPIRE k 10 GT LT
EXPIRE k 10 FOO|EXPIRE k x|EXPIRE none 10|EXPIRE k 9223372036854775807|EXPIRE k -1|EXISTS k|SET k v|PEXPIREAT k 1|EXISTS k
HSET h a 1|HSET h a 2 b 3|HSET h a|HGET h a|HGET h none|HGET none a|HMGET h a none b|HGETALL h|HGETALL none|HDEL h a none
HLEN h|HEXISTS h b|HEXISTS h a|HINCRBY h n 5|HINCRBY h n -7|HINCRBY h n x|HINCRBYFLOAT h f 1.5|HINCRBYFLOAT h f x|HKEYS h
HVALS h|HSETNX h b 9|HSETNX h z 9|HSTRLEN h z|HMSET h q 1 r 2|HMSET h q|HSET h s abc|HINCRBY h s 1|HINCRBYFLOAT h s 1|HDEL h b n f z q r s
EXISTS h|TYPE h|HSET h a 1|TYPE h|TYPE none|SET s v|TYPE s|GET h|HGET s a|INCR h|APPEND h x|STRLEN h|GETSET h x|HSET s a 1
SET h v GET|SETNX h v|MGET h s|GETDEL h|HGETALL s|HDEL s a|HLEN s|HKEYS s|SET h string|GET h
MULTI|SET t 1|INCR t|INCR h|GET t|EXEC|EXEC|DISCARD|MULTI|MULTI|DISCARD|MULTI|FOO bar|GET t|EXEC|MULTI|GET|EXEC|MULTI|EXEC
MULTI|SET t x EX 0|GET t|EXEC|WATCH t|MULTI|SET t 7|EXEC|GET t|MULTI|WATCH t|EXEC|UNWATCH|WATCH
FOO|FOO bar baz|foo|CLIENT GETNAME|CLIENT SETNAME me|CLIENT GETNAME|CLIENT SETNAME a\\x20b|AUTH x|AUTH default x|AUTH other x
SCAN x|SCAN 0 COUNT 0|SCAN 0 COUNT x|SCAN 0 FOO|KEYS none*|KEYS t|SCRIPT EXISTS abc|EVALSHA ffffffffffffffffffffffffffffffffffffffff 0
HELLO 4|HELLO x|CONFIG GET save
"""


def test_answers_are_those_of_redis(ledger, redis):
    _, port = ledger()
    with Resp(port) as ours, Resp(redis) as theirs:
        for line in SAME.split("\n"):
            for text in filter(None, line.split("|")):
                command = [word.replace("\\x20", " ") for word in text.split(" ")]
                mine, real = ours(*command), theirs(*command)
                assert mine == real and isinstance(mine, type(real)), text


def test_version_3_of_the_protocol_has_maps_and_nulls(ledger, redis):
    _, port = ledger()
    with Resp(port) as ours, Resp(redis) as theirs:
        for resp in (ours, theirs):
            hello = resp("HELLO", 3)
            assert hello[b"proto"] == 3 and hello[b"role"] == b"master"
        for text in ("HSET h a 1 b 2", "HGETALL h", "GET none", "HGETALL none", "SET w 1", "WATCH w", "SET w 2", "MULTI",
                     "GET w", "EXEC", "CONFIG GET save", "MGET none"):
            mine, real = ours(*text.split(" ")), theirs(*text.split(" "))
            assert mine == real and isinstance(mine, type(real)), text


def random_command(rng):
    key, other = rng.choice("abcdefgh"), rng.choice("abcdefgh")
    field, n = rng.choice(["f", "g", "hh"]), rng.randrange(-20, 20)
    value = rng.choice([str(n), "text" * rng.randrange(4), "x" * rng.randrange(300), "1.5"])
    return rng.choice([
        ("GET", key), ("SET", key, value), ("SET", key, value, "EX", 1000), ("SET", key, value, rng.choice(["NX", "XX", "GET", "KEEPTTL"])),
        ("DEL", key, other), ("INCRBY", key, n), ("DECR", key), ("APPEND", key, value), ("STRLEN", key), ("GETSET", key, value),
        ("GETDEL", key), ("MGET", key, other, "none"), ("MSET", key, value, other, n), ("MSETNX", key, 1, "once" + other, 2),
        ("EXPIRE", key, rng.choice([100, 500, 1000]), rng.choice(["NX", "XX"])), ("TTL", key), ("PERSIST", key), ("EXISTS", key, other),
        ("TYPE", key), ("HSET", key, field, value), ("HSET", key, field, n, "k", value), ("HGET", key, field), ("HDEL", key, field, "k"),
        ("HGETALL", key), ("HINCRBY", key, field, n), ("HLEN", key), ("HMGET", key, field, "none"), ("HSETNX", key, field, value), ("HKEYS", key),
        ("DBSIZE",), ("INCRBYFLOAT", key, "0.25"), ("GETEX", key, "EX", 1000)])


def in_any_order(value):
    """Redis' order of fields changes when a hash grows."""
    if not isinstance(value, list):
        return value
    return [sorted(v) if isinstance(v, list) and None not in v else v for v in value] if any(
        isinstance(v, list) for v in value) else sorted(value, key=repr)


def test_pipelines_and_transactions_are_those_of_redis(ledger, redis):
    """Random commands, seeded, many at a time, some in MULTI; a TTL may differ by the second that passes between the two."""
    _, port = ledger()
    seed = random.randrange(1 << 30)
    rng = random.Random(seed)
    with Resp(port) as ours, Resp(redis) as theirs:
        for turn in range(150):
            commands = [random_command(rng) for _ in range(rng.randrange(1, 40))]
            if rng.randrange(3) == 0:
                commands = [("MULTI",), *commands, ("EXEC",)]
            commands = [c if c[0] != "TTL" else ("EXISTS", c[1]) for c in commands]
            mine, real = ours.pipeline(commands), theirs.pipeline(commands)
            for command, m, r in zip(commands, mine, real):
                if command[0] in ("HKEYS", "HGETALL", "EXEC"):
                    m, r = in_any_order(m), in_any_order(r)
                assert m == r, f"seed {seed} turn {turn} {command}"


# ---- connections

def test_bytes_may_come_in_any_pieces(ledger):
    _, port = ledger()
    with Resp(port) as r:
        data = r.pack("SET", "k", b"a\r\nb" * 10) + r.pack("GET", "k") + b"GET k\r\n" + b"ping\r\n"
        for i in range(len(data)):
            r.socket.sendall(data[i:i + 1])
        assert [r.reply() for _ in range(4)] == ["+OK", b"a\r\nb" * 10, b"a\r\nb" * 10, "+PONG"]


def test_large_values_and_long_pipelines(ledger):
    _, port = ledger()
    with Resp(port) as r:
        value = os.urandom(1000000)
        assert r("SET", "large", value) == "+OK"
        assert r("GET", "large") == value
        answers = r.pipeline([("SET", "large", b"small"), *[("GET", "large")] * 3, ("SET", "large", value)])
        assert answers == ["+OK", b"small", b"small", b"small", "+OK"]
        assert r.pipeline([("INCR", "n")] * 5000) == list(range(1, 5001))
        many = [f"k{i}" for i in range(2000)]
        assert r("MSET", *[x for k in many for x in (k, "v" * 100)]) == "+OK"
        assert r("MGET", *many) == [b"v" * 100] * 2000
        assert "maximum allowed size" in r("APPEND", "large", b"x" * 100000)
        # what all answers of a batch need is more than one answer may have: they are done one by one
        sender = threading.Thread(target=lambda: r.socket.sendall(b"".join(r.pack("GET", "large") for _ in range(50))))
        sender.start()
        assert all(r.reply() == value for _ in range(50))
        sender.join()


@pytest.mark.parametrize("data, words", [
    (b"*x\r\n", "Protocol error: invalid multibulk length"),
    (b"*1\r\n$-5\r\n", "Protocol error: invalid bulk length"),
    (b"*1\r\n$99999999\r\n", "Protocol error: invalid bulk length"),
    (b"*1\r\nx\r\n", "Protocol error: expected '$', got 'x'"),
    (b'GET "k\r\n', "Protocol error: unbalanced quotes in request"),
    (b"*4097\r\n", "Protocol error: invalid multibulk length"),
    (b"*1\r\n$1048577\r\n", "Protocol error: invalid bulk length"),
    (b"GET " + b"k" * 65536, "Protocol error: too big inline request"),
])
def test_a_broken_protocol_is_told_and_closed(ledger, data, words):
    _, port = ledger()
    with Resp(port) as r:
        r.socket.sendall(r.pack("PING") + data)
        assert r.reply() == "+PONG"
        assert r.reply() == "ERR " + words
        assert r.file.read() == b""


def test_a_password_is_asked_for(ledger, redis, tmp_path):
    secret = tmp_path / "password"
    secret.write_text("open sesame\n")
    _, port = ledger(f', password: "file:{secret}"')
    with Resp(port) as r:
        assert r("GET", "k") == "NOAUTH Authentication required."
        assert r("FOO") == "NOAUTH Authentication required."
        assert r("HELLO", 3).startswith("NOAUTH HELLO must be called")
        assert r("AUTH", "wrong") == "WRONGPASS invalid username-password pair or user is disabled."
        assert r("AUTH", "default", "open sesame?") == "WRONGPASS invalid username-password pair or user is disabled."
        assert r("AUTH", "open sesame") == "+OK"
        assert r("GET", "k") is None
        assert r("RESET") == "+RESET"
        assert r("GET", "k") == "NOAUTH Authentication required."
        assert r("HELLO", 3, "AUTH", "default", "open sesame", "SETNAME", "me")[b"proto"] == 3
        assert r("CLIENT", "GETNAME") == b"me"
    with Resp(port) as r:
        r.socket.sendall(b"*11\r\n")
        assert r.reply() == "ERR Protocol error: unauthenticated multibulk length"


def test_a_password_changes_with_a_reload(ledger, tmp_path):
    """Who has said the old one stays; a file that cannot be read changes nothing."""
    secret = tmp_path / "password"
    secret.write_text("old\n")
    w, port = ledger(f', password: "file:{secret}"')
    with Resp(port) as r:
        assert r("AUTH", "old") == "+OK"
        secret.write_text("new\nnot this line\n")
        w.reload()
        with Resp(port) as other:
            assert other("AUTH", "old").startswith("WRONGPASS")
            assert other("AUTH", "new") == "+OK"
        secret.unlink()
        w.reload(done="reload refused")
        with Resp(port) as other:
            assert other("AUTH", "new") == "+OK"
        w.reload(CONF.format(path=tmp_path / "ledger", port=port, more=""))
        with Resp(port) as other:
            assert other("SET", "k", "v") == "+OK"
        assert r("GET", "k") == b"v"


def test_what_clients_do_is_counted(ledger):
    w, port = ledger(", password: secret")
    with Resp(port) as r:
        commands = [("AUTH", "wrong"), ("AUTH", "secret"), ("SET", "k", "v" * 20000), ("GET", "k"), ("HGET", "k", "f"), ("FOO",)]
        answers = r.pipeline(commands)
        assert [isinstance(a, Error) for a in answers] == [True, False, False, False, True, True]
        r.socket.sendall(b"*x\r\n")
        r.reply()
        metrics = w.metrics()

        def of(name):
            return metrics[f"weir_resp_{name}"]

        sent = sum(len(r.pack(*c)) for c in commands)
        assert of("connections_total") == 1 and of("commands_total") == 6 and of("writes_total") == 1
        assert of("errors_total") == 4 and of("passwords_wrong_total") == 1 and of("malformed_total") == 1
        assert of("received_bytes_total") == sent and of("sent_bytes_total") > 20000
    wait_until(lambda: w.metrics()["weir_resp_connections"] == 0, 20, "it is closed")


def test_a_password_without_a_listener_is_refused(tmp_path):
    conf = tmp_path / "weir.yaml"
    conf.write_text(f'listen: [":0"]\nledger: {{path: {tmp_path / "ledger"}, password: x}}\nroutes: [{{match: /*, respond: 204}}]\n')
    done = run("check", "-c", conf)
    assert done.returncode != 0 and "password: it is for `listen`" in done.stderr + done.stdout


def test_watched_keys_stop_a_transaction(ledger):
    _, port = ledger()
    with Resp(port) as a, Resp(port) as b:
        a("SET", "k", 1)
        assert a("WATCH", "k", "none") == "+OK"
        assert b("SET", "k", 1) == "+OK"
        assert a.pipeline([("MULTI",), ("SET", "k", 2), ("EXEC",)]) == ["+OK", "+QUEUED", None]
        assert a.pipeline([("MULTI",), ("INCR", "k"), ("EXEC",)]) == ["+OK", "+QUEUED", [2]]
        a("WATCH", "k")
        b("INCR", "k")
        a("UNWATCH")
        assert a.pipeline([("MULTI",), ("INCR", "k"), ("EXEC",)]) == ["+OK", "+QUEUED", [4]]


def test_a_watched_key_that_goes_or_ends_stops_a_transaction_too(ledger):
    _, port = ledger()
    with Resp(port) as a, Resp(port) as b:
        a("MSET", "gone", 1, "ends", 1, "made", 1)
        a("DEL", "made")
        for key, change in (("gone", ("DEL", "gone")), ("ends", ("PEXPIRE", "ends", 1)), ("made", ("SET", "made", 1))):
            assert a("WATCH", key) == "+OK"
            b(*change)
            wait_until(lambda: b("EXISTS", key) == (key == "made"), 20, "it has changed")
            assert a.pipeline([("MULTI",), ("SET", "done", 1), ("EXEC",)]) == ["+OK", "+QUEUED", None], key
        # what was watched before DISCARD is not watched any more, nor is what was put off done
        a("WATCH", "made")
        assert a.pipeline([("MULTI",), ("SET", "done", 1), ("DISCARD",)]) == ["+OK", "+QUEUED", "+OK"]
        b("SET", "made", 2)
        assert a.pipeline([("MULTI",), ("GET", "done"), ("EXEC",)]) == ["+OK", "+QUEUED", [None]]
    # and a transaction that happens is seen whole or not at all
    keys = [f"k{i}" for i in range(8)]

    def write():
        with Resp(port) as r:
            for n in range(100):
                r.pipeline([("MULTI",), *[("SET", k, n) for k in keys], ("EXEC",)])

    writer = threading.Thread(target=write)
    writer.start()
    with Resp(port) as r:
        while writer.is_alive():
            assert len(set(r("MGET", *keys))) == 1
        assert r("MGET", *keys) == [b"99"] * 8
    writer.join()


def test_transactions_have_bounds_and_any_command(ledger):
    _, port = ledger()
    with Resp(port) as r:
        answers = r.pipeline([("MULTI",), ("TIME",), ("CLIENT", "GETNAME"), ("SET", "k", 1), ("EXEC",), ("PING",)])
        assert len(answers[4]) == 3 and len(answers[4][0]) == 2 and answers[4][1:] == [None, "+OK"] and answers[5] == "+PONG"
        answers = r.pipeline([("MULTI",), *[("INCR", "n")] * 1025, ("EXEC",), ("GET", "n")])
        assert answers[1024] == "+QUEUED" and answers[1025].startswith("ERR a transaction has at most 1024 commands")
        assert answers[-2].startswith("EXECABORT") and answers[-1] is None
        keys = [f"k{i}" for i in range(1024)]
        assert r("WATCH", *keys) == "+OK" and r("WATCH", "one more") == "ERR at most 1024 keys are watched"


def test_concurrent_transactions_lose_nothing(ledger):
    _, port = ledger()

    def add():
        with Resp(port) as r:
            for _ in range(30):
                while True:
                    r("WATCH", "sum")
                    n = int(r("GET", "sum") or 0)
                    if r.pipeline([("MULTI",), ("SET", "sum", n + 1), ("EXEC",)])[2]:
                        break

    threads = [threading.Thread(target=add) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    with Resp(port) as r:
        assert r("GET", "sum") == b"120"


def test_keys_of_sliding_time_and_compare_and_set(ledger):
    _, port = ledger()
    with Resp(port) as r:
        assert r("SET", "k", "v", "EX", 100, "SLIDING") == "+OK"
        assert r("SET", "k", "v", "SLIDING") == "ERR syntax error"
        assert r("EXPIRE", "k", 200, "SLIDING") == 1
        assert r("TTL", "k") == 200
        assert r("SET", "k", "w", "IFEQ", "x") is None
        assert r("SET", "k", "w", "IFEQ", "v") == "+OK"
        assert r("GET", "k") == b"w"


def test_all_keys_are_scanned(ledger):
    _, port = ledger()
    with Resp(port) as r:
        for i in range(0, 3000, 500):
            r("MSET", *[x for k in range(i, i + 500) for x in (f"key:{k}", k)])
        r("HSET", "hash", "f", "v")
        found, cursor = set(), b"0"
        while True:
            cursor, keys = r("SCAN", cursor, "COUNT", 100)
            found.update(keys)
            if cursor == b"0":
                break
        assert len(found) == 3001 and r("DBSIZE") == 3001
        assert r("SCAN", 0, "COUNT", 10000, "TYPE", "hash") == [b"0", [b"hash"]]
        assert sorted(r("KEYS", "key:29[89]?")) == sorted(b"key:%d" % i for i in range(2980, 3000))
        assert r.pipeline([("SET", "a", 1), ("KEYS", "hash"), ("GET", "a")]) == ["+OK", [b"hash"], b"1"]
        assert r.pipeline([("MULTI",), ("SCAN", 0), ("EXEC",)])[1].startswith("ERR 'SCAN' cannot be part")


def test_keys_end_by_themselves(ledger):
    _, port = ledger()
    with Resp(port) as r:
        r("SET", "k", "v", "PX", 50)
        wait_until(lambda: r("GET", "k") is None, 20, "its time is over")
        wait_until(lambda: r("DBSIZE") == 0, 20, "it is gone")


# ---- clients as they are

def test_lock_of_redis_py(ledger):
    redis = pytest.importorskip("redis")
    _, port = ledger()
    a, b = (redis.Redis(port=port, socket_timeout=20) for _ in range(2))
    lock = a.lock("lock", timeout=100)
    assert lock.acquire(blocking=False)
    assert not b.lock("lock", timeout=100).acquire(blocking=False)
    assert lock.extend(50) and 140 < a.ttl("lock") <= 150
    assert lock.reacquire() and a.ttl("lock") <= 100
    lock.release()
    with pytest.raises(redis.exceptions.LockError):
        lock.release()
    other = b.lock("lock", timeout=100)
    assert other.acquire(blocking=False)
    b.set("lock", "stolen")
    with pytest.raises(redis.exceptions.LockNotOwnedError):
        other.release()
    script = 'if redis.call("get", KEYS[1]) == ARGV[1] then\n return redis.call("del", KEYS[1])\nelse\n return 0\nend'
    assert a.eval(script, 1, "lock", "mine") == 0 and a.eval(script, 1, "lock", "stolen") == 1
    with pytest.raises(redis.exceptions.ResponseError, match="runs no scripts"):
        a.eval("return 1", 0)


def test_redis_py(ledger):
    redis = pytest.importorskip("redis")
    _, port = ledger(", password: secret")
    r = redis.Redis(port=port, password="secret", socket_timeout=20, client_name="test")
    assert r.set("k", "v", ex=10) and r.get("k") == b"v" and 0 < r.ttl("k") <= 10
    assert r.hset("h", mapping={"a": 1, "b": 2}) == 2 and r.hgetall("h") == {b"a": b"1", b"b": b"2"}
    with r.pipeline(transaction=True) as p:
        assert p.incr("n").incr("n").get("n").execute() == [1, 2, b"2"]
    assert r.transaction(lambda p: (p.get("n"), p.multi(), p.incr("n")), "n") == [3]
    assert sorted(r.scan_iter("?")) == [b"h", b"k", b"n"]
    assert r.info()["role"] == "master" and r.client_getname() == "test"
    with pytest.raises(redis.exceptions.ResponseError):
        r.lpush("l", 1)
    with pytest.raises((redis.exceptions.ResponseError, redis.exceptions.AuthenticationError), match="invalid username-password"):
        redis.Redis(port=port, password="wrong").ping()  # which of the two: before and since version 5


def test_tools_of_redis(ledger):
    if not shutil.which("redis-cli"):
        pytest.skip("no redis-tools here")
    _, port = ledger()

    def tool(*command):
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done
        return done.stdout

    assert tool("redis-cli", "-p", port, "SET", "k", "v").strip() == "OK"
    assert tool("redis-cli", "-3", "-p", port, "GET", "k").strip() == "v"
    for pipeline in (1, 16):
        out = tool("redis-benchmark", "-p", port, "-q", "-n", 2000, "-P", pipeline, "-c", 8, "-r", 100, "-t", "get,set,incr,hset,mset")
        assert "GET:" in out and "rror" not in out


def test_tools_of_redis_over_tls(ledger):
    if not shutil.which("redis-cli"):
        pytest.skip("no redis-tools here")
    redis = pytest.importorskip("redis")
    _, port = ledger(", password: secret, tls: {self_signed: true}")
    command = ["redis-cli", "--tls", "--insecure", "-p", str(port), "-a", "secret", "--no-auth-warning"]
    done = subprocess.run([*command, "SET", "k", "v"], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "OK", done
    r = redis.Redis(port=port, password="secret", ssl=True, ssl_cert_reqs=None, socket_timeout=20)
    assert r.get("k") == b"v" and r.set("large", b"x" * 500000) and r.get("large") == b"x" * 500000
    with pytest.raises(redis.exceptions.ConnectionError):  # in the clear
        redis.Redis(port=port, password="secret", socket_timeout=20).ping()


# ---- safety

def test_acknowledged_values_survive_kill_9(weir, tmp_path):
    """Clients write while the process is killed, again and again: what was acknowledged is there, in order."""
    port = free_port()
    conf = CONF.format(path=tmp_path / "ledger", port=port, more="")
    acknowledged = {}

    def write(name, stop):
        n = acknowledged.get(name, 0)
        try:
            with Resp(port) as r:
                while not stop.is_set():
                    answers = r.pipeline([("SET", f"{name}:{n + i}", n + i) for i in range(1, 9)] + [("SET", name, n + 8)])
                    if answers != ["+OK"] * 9:
                        break
                    n += 8
                    acknowledged[name] = n
        except (OSError, AssertionError):
            pass

    for kill in range(4):
        w = weir(conf)
        wait_until(lambda: listening(port), 20, "it listens")
        before = dict(acknowledged)
        stop = threading.Event()
        threads = [threading.Thread(target=write, args=(f"w{i}", stop)) for i in range(4)]
        for t in threads:
            t.start()
        wait_until(lambda: all(acknowledged.get(f"w{i}", 0) > before.get(f"w{i}", 0) for i in range(4)), 20, "all write")
        w.signal(signal.SIGKILL)
        w.status_expected = -signal.SIGKILL
        w.wait()
        stop.set()
        for t in threads:
            t.join()
    weir(conf)
    wait_until(lambda: listening(port), 20, "it listens")
    with Resp(port) as r:
        for name, n in acknowledged.items():
            assert int(r("GET", name)) >= n, name
            for i in range(1, n + 1, 200):
                keys = [f"{name}:{j}" for j in range(i, min(i + 200, n + 1))]
                assert r("MGET", *keys) == [k.split(":")[1].encode() for k in keys]


def test_a_stop_and_a_start_keep_all(ledger, weir, tmp_path):
    w, port = ledger()
    with Resp(port) as r:
        r("HSET", "h", "a", 1)
        r("SET", "k", "v", "EX", 1000)
    w.stop()
    _, port = ledger()
    with Resp(port) as r:
        assert r("HGETALL", "h") == [b"a", b"1"]
        assert r("GET", "k") == b"v" and 0 < r("TTL", "k") <= 1000


# ---- LOCK.*

def test_locks_have_tokens_that_grow_and_a_line(ledger):
    w, port = ledger()
    with Resp(port) as a, Resp(port) as b, Resp(port) as c:
        first = a("LOCK.ACQUIRE", "l", 100000)
        assert first > 0
        assert b("LOCK.ACQUIRE", "l", 100000) is None
        assert b("LOCK.ACQUIRE", "l", 100000, "WAIT", 30) is None
        b.socket.sendall(b.pack("LOCK.ACQUIRE", "l", 100000, "WAIT", 100000))
        wait_until(lambda: a("LOCK.STATUS", "l")[7] == 1, 20, "b is in line")
        c.socket.sendall(c.pack("LOCK.ACQUIRE", "l", 100000, "WAIT", 100000))
        wait_until(lambda: a("LOCK.STATUS", "l")[7] == 2, 20, "c is in line")
        assert a("LOCK.RELEASE", "l", first + 1) == 0
        assert a("LOCK.RENEW", "l", first, 50000) == 1
        assert a("LOCK.RELEASE", "l", first) == 1
        second = b.reply()
        assert second > first
        assert a("LOCK.RENEW", "l", first, 50000) == 0
        status = a("LOCK.STATUS", "l")
        assert status[:4] == [b"held", 1, b"token", second] and status[7] == 1
        assert b("LOCK.RELEASE", "l", second) == 1
        third = c.reply()
        assert third > second
    w.stop()
    _, port = ledger()
    with Resp(port) as r:
        wait_until(lambda: (r("LOCK.ACQUIRE", "l", 1000, "KEEP") or 0) > third, 20, "it is free, and the token greater over a restart")


def test_answers_keep_their_order_around_a_command_that_waits(ledger):
    _, port = ledger()
    with Resp(port) as a, Resp(port) as b:
        token = b("LOCK.ACQUIRE", "l", 86400000)
        commands = [("SET", "k", 1), ("PING", "before"), ("LOCK.ACQUIRE", "l", 86400000, "WAIT", 3600000), ("GET", "k"), ("PING",)]
        a.socket.sendall(b"".join(a.pack(*c) for c in commands))
        assert a.reply() == "+OK" and a.reply() == b"before"  # not held up by what waits behind them
        wait_until(lambda: b("LOCK.STATUS", "l")[7] == 1, 20, "it is in line")
        assert b("GET", "k") == b"1" and b("SET", "k", 2) == "+OK"  # and what stands behind it has not begun
        assert b("LOCK.RELEASE", "l", token) == 1
        assert a.reply() > token and a.reply() == b"2" and a.reply() == "+PONG"
        # nobody but the holder renews or releases
        token = a("LOCK.ACQUIRE", "m", 86400000)
        for other in (token + 1, token - 1, 0):
            assert b("LOCK.RENEW", "m", other, 1) == 0 and b("LOCK.RELEASE", "m", other) == 0
        assert b("LOCK.STATUS", "m")[:4] == [b"held", 1, b"token", token] and b("LOCK.STATUS", "m")[5] > 80000000
        assert b("LOCK.RENEW", "m", token, 86400000) == 1  # who shows the token is the holder, over any connection


def test_a_connection_that_dies_frees_its_locks(ledger):
    _, port = ledger()
    with Resp(port) as r:
        with Resp(port) as dies:
            assert dies("LOCK.ACQUIRE", "mine", 86400000) > 0
            assert dies("LOCK.ACQUIRE", "kept", 86400000, "KEEP") > 0
        wait_until(lambda: r("LOCK.STATUS", "mine")[1] == 0, 20, "it is free")
        assert r("LOCK.STATUS", "kept")[1] == 1
        holder = Resp(port)
        assert holder("LOCK.ACQUIRE", "l", 86400000) > 0
        with Resp(port) as waits:
            waits.socket.sendall(waits.pack("LOCK.ACQUIRE", "l", 1000, "WAIT", 3600000))
            wait_until(lambda: r("LOCK.STATUS", "l")[7] == 1, 20, "it is in line")
        wait_until(lambda: r("LOCK.STATUS", "l")[7] == 0, 20, "it is out of the line")
        holder.__exit__()


def test_a_lease_ends_by_itself(ledger):
    _, port = ledger()
    with Resp(port) as a, Resp(port) as b:
        token = a("LOCK.ACQUIRE", "l", 50)
        assert b("LOCK.ACQUIRE", "l", 100000, "WAIT", 100000) > token
        assert a("LOCK.RELEASE", "l", token) == 0
        assert "a lock's name" in a("LOCK.ACQUIRE", "l", 0)
        assert "a lock's name" in a("LOCK.ACQUIRE", "n" * 65, 1)


# ---- STOCK.*

def test_stock_is_sold(ledger):
    _, port = ledger()
    with Resp(port) as r:
        assert r("STOCK.SET", "radio", "TOTAL", 10, "PRICE", 500) == "+done"
        answers = r.pipeline([("STOCK.RESERVE", f"o{i}", "anna", 100000, "radio", 1) for i in range(12)])
        assert answers == ["+done"] * 10 + ["+sold_out"] * 2
        assert r("STOCK.RESERVE", "o1", "anna", 100000, "radio", 1) == "+done_before"
        assert r.pipeline([("STOCK.CONFIRM", "o1"), ("STOCK.RELEASE", "o2"), ("STOCK.CONFIRM", "o2"), ("STOCK.CONFIRM", "none")]) == [
            "+done", "+done", "+wrong_state", "+unknown_order"]
        assert r("STOCK.ADD", "radio", 5) == "+done"
        assert r("STOCK.GET", "radio")[:8] == [b"total", 15, b"held", 8, b"sold", 1, b"free", 6]
        assert r("STOCK.ORDER", "o1")[:2] == [b"state", b"paid"]
        assert r("STOCK.GET", "none") is None and r("STOCK.ORDER", "none") is None
        assert r("STOCK.RESERVE", "o", "u", 1000, "radio", 1, "tv") == "ERR an order has 1 to 16 items, each with a quantity"
        mixed = r.pipeline([("SET", "k", 1), ("STOCK.GET", "radio"), ("INCR", "k"), ("PING",)])
        assert mixed[0] == "+OK" and mixed[1][1] == 15 and mixed[2:] == [2, "+PONG"]
