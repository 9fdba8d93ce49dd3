"""A real gRPC server (Debian's python3-grpcio) whose methods take and give bytes, so that no protoc is needed."""
import threading
import time
from concurrent import futures

from lib.ports import free_port

OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1), ("grpc.so_reuseport", 0)]
SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"


class GrpcServer:
    """/test.Test/Unary, ClientStream, Bidi echo in capitals; ServerStream of b"3 13" counts to 3, waits for `go`, and
    fails; its end sets `over`. Unary of b"fail 14 words" fails so, of
    b"sleep 0.5" takes so long, of b"late 13" fails behind a message. `calls` are (method, metadata, seconds left)."""

    def __init__(self, grpc):
        self.grpc = grpc
        self.calls = []
        self.health = {b"": SERVING}
        self.go = threading.Event()
        self.over = threading.Event()  # a ServerStream is
        self.fail = None  # the status of every Unary ...
        self.late = False  # ... behind its answer's head
        self.port = free_port()
        self.start()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def start(self):
        self.server = self.grpc.server(futures.ThreadPoolExecutor(32), options=OPTIONS)
        self.server.add_generic_rpc_handlers((self.handlers(),))
        assert self.server.add_insecure_port(self.address) == self.port
        self.server.start()

    def stop(self):
        self.go.set()
        self.server.stop(0).wait(20)

    def handlers(self):
        grpc, server = self.grpc, self
        kinds = {"/test.Test/Unary": grpc.unary_unary_rpc_method_handler(self.unary),
                 "/test.Test/ServerStream": grpc.unary_stream_rpc_method_handler(self.server_stream),
                 "/test.Test/ClientStream": grpc.stream_unary_rpc_method_handler(self.client_stream),
                 "/test.Test/Bidi": grpc.stream_stream_rpc_method_handler(self.bidi),
                 "/grpc.health.v1.Health/Check": grpc.unary_unary_rpc_method_handler(self.check)}

        class Handlers(grpc.GenericRpcHandler):
            def service(self, details):
                if "Health" not in details.method:
                    server.calls.append((details.method, dict(details.invocation_metadata)))
                return kinds.get(details.method)
        return Handlers()

    def code(self, number):
        return next(c for c in self.grpc.StatusCode if c.value[0] == int(number))

    def unary(self, request, context):
        self.left = context.time_remaining()
        context.set_trailing_metadata((("x-trailer", "there"),))
        words = request.split(b" ", 2)
        if self.late:
            context.send_initial_metadata(())
        if self.fail is not None:
            context.abort(self.code(self.fail), "told to fail")
        if words[0] == b"fail":
            context.abort(self.code(words[1]), words[2].decode())
        if words[0] == b"sleep":
            time.sleep(float(words[1]))
        if words[0] == b"late":
            context.send_initial_metadata(())
            context.abort(self.code(words[1]), "late")
        return request.upper()

    def server_stream(self, request, context):
        context.add_callback(self.over.set)
        count, *code = request.split(b" ")
        for i in range(int(count)):
            yield b"%d" % i
        if code:
            self.go.wait(60)
            context.abort(self.code(code[0]), "told to fail")

    def client_stream(self, requests, context):
        return b" ".join(requests).upper()

    def bidi(self, requests, context):
        for request in requests:
            yield request.upper()

    def check(self, request, context):
        name = request[2:]
        if name not in self.health:
            context.abort(self.grpc.StatusCode.NOT_FOUND, "no such service")
        return self.health[name]


class GrpcClient:
    def __init__(self, grpc, address):
        self.channel = grpc.insecure_channel(address, options=OPTIONS + [("grpc.enable_retries", 0)])
        self.unary = self.channel.unary_unary("/test.Test/Unary")
        self.server_stream = self.channel.unary_stream("/test.Test/ServerStream")
        self.client_stream = self.channel.stream_unary("/test.Test/ClientStream")
        self.bidi = self.channel.stream_stream("/test.Test/Bidi")

    def close(self):
        self.channel.close()
