"""`python -m bench.peers.threads SOCKET MODEL`: a thread per connection, our frames, one model behind a lock."""

from __future__ import annotations

import socket
import struct
import sys
import threading

from bench.peers.runner import Runner

HEADER = struct.Struct("<2sBBIQ")
INFER_HEAD_BYTES = 32
ANSWER_HEAD = struct.Struct("<QIIB7x")
HELLO, WELCOME, ANSWER = 1, 2, 4
GREETING = b'{"interface":"00000000000000000000000000000000"}'


def serve(connection: socket.socket, runner: Runner, lock: threading.Lock) -> None:
    stream = connection.makefile("rb")
    while head := stream.read(HEADER.size):
        _, _, kind, length, id = HEADER.unpack(head)
        body = stream.read(length)
        if kind == HELLO:
            connection.sendall(HEADER.pack(b"Lt", 1, WELCOME, len(GREETING), 0) + GREETING)
            continue
        with lock:
            answer, invoked_us = runner.run(memoryview(body)[INFER_HEAD_BYTES:])
        size = ANSWER_HEAD.size + len(answer)
        head = HEADER.pack(b"Lt", 1, ANSWER, size, id) + ANSWER_HEAD.pack(1, 0, invoked_us, 0)
        connection.sendall(head + answer)


if __name__ == "__main__":
    path, model = sys.argv[1:]
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen()
    runner, lock = Runner(model), threading.Lock()
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection, runner, lock), daemon=True).start()
