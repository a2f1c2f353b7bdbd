"""A Redis server of our own on a free loopback port, for tests."""

import importlib.util
import os
import shutil
import socket
import subprocess
import time

import pytest

MISSING = "redis-server (apt-get install redis-server) or redis-py (pip install 'ganlib[redis]') is not installed"


def need_redis():
    """The program; skips without it, or fails if GANLIB_REQUIRE_SERVICES is set."""
    program = shutil.which("redis-server")
    if program is not None and importlib.util.find_spec("redis") is not None:
        return program
    if os.environ.get("GANLIB_REQUIRE_SERVICES") == "1":
        pytest.fail(MISSING)
    pytest.skip(MISSING)


class Server:
    """A server that can be stopped and started again with the data of its append-only file."""

    def __init__(self, folder, *options):
        self.program, self.folder, self.options = need_redis(), folder, options
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process = None
        self.start()

    def start(self):
        import redis

        folder = str(self.folder)
        command = [self.program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", folder, "--save", ""]
        command += ["--repl-diskless-sync-delay", "0"]
        command += ["--appendonly", "yes", "--appendfsync", "always", *self.options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.client = redis.Redis(port=self.port, protocol=2, decode_responses=True)
        for _ in range(100):
            try:
                self.client.ping()
                return self
            except redis.exceptions.AuthenticationError:
                return self
            except redis.exceptions.ConnectionError:
                time.sleep(0.05)
        raise AssertionError("redis-server did not start")

    def stop(self):
        """Kill the server, as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def url(self, key, scheme="redis", user=""):
        return f"{scheme}://{user}127.0.0.1:{self.port}/0/{key}"


@pytest.fixture(scope="session")
def running(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture
def server(running):
    """An empty server."""
    running.client.flushall()
    running.client.config_set("maxmemory", 0)
    return running


@pytest.fixture
def own_server(tmp_path):
    """Starts servers of a test; all end with it."""
    started = []

    def start(*options, folder="redis"):
        (tmp_path / folder).mkdir(exist_ok=True)
        started.append(Server(tmp_path / folder, *options))
        return started[-1]

    yield start
    for one in started:
        one.stop()
