"""Services for tests: in this process, or as the command."""

import asyncio
import json
import re
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress

import httpx

from serving.events import Events
from serving.model_source import FileSource, PointerSource
from serving.service.app import Service
from serving.service.listen import bound, run, url
from serving.service.metrics import Metrics
from serving.service.served import Served
from serving.service.settings import Settings


def assembled(*paths, **options):
    """A service of files, not started."""
    settings, metrics, events = Settings(port=0, **options), Metrics(), Events()
    sources = [PointerSource(p) if str(p).endswith(".json") else FileSource(p) for p in paths]
    served = [Served(source.current()[2], source, settings, metrics, events) for source in sources]
    return Service(served, settings, metrics)


class Running:
    """A service on a loopback port, in a thread."""

    def __init__(self, service):
        self.service, self.stopping = service, None

    def __enter__(self):
        self.sock, ready = bound(self.service.settings), threading.Event()
        self.url, self.failed = url(self.sock), []

        async def main():
            self.loop, task = asyncio.get_running_loop(), None
            task = asyncio.create_task(run(self.service, self.sock, ready.set, signals=False))
            self.stop = task.cancel
            with suppress(asyncio.CancelledError):
                await task

        def body():
            try:
                asyncio.run(main())
            except Exception as error:
                self.failed.append(error)
            finally:
                ready.set()

        self.thread = threading.Thread(target=body)
        self.thread.start()
        ready.wait(60)
        self.client = httpx.Client(base_url=self.url, timeout=20)
        return self

    def __exit__(self, *_):
        self.client.close()
        if self.thread.is_alive():
            self.loop.call_soon_threadsafe(self.stop)
        self.thread.join(20)
        self.sock.close()


@contextmanager
def command(environment, *options):
    """The command as a process: (process, URL), once it is ready; it is killed if the test leaves it running."""
    parts = [sys.executable, "-m", "serving", "serve", "--port", "0", *map(str, options)]
    process = subprocess.Popen(parts, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    lines = []
    try:
        for line in process.stderr:
            lines.append(line)
            if found := re.search(r"http://\S+?:\d+", line):
                break
        else:
            raise AssertionError("".join(lines))
        yield process, found.group()
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
        process.stdout.close()


def records(frame):
    """Rows of a frame as JSON records."""
    return [json.loads(line) for line in frame.to_json(orient="records", date_format="iso", lines=True).splitlines()]


def until(true, seconds=10):
    """Wait for a condition."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)
