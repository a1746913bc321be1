"""Ctrl-C in the middle of long calls, as a terminal sends it: SIGINT to the process. argv: a folder."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable, Type

import causerie
from domain import SETTINGS, raises

SOON = 0.3
"""Seconds of the processor that a call may take after the signal; ten times as many may pass where others use it as well."""

LONG = """
[simulate]
items = 3000
users = 20000
reviews = 60000
[embed]
dim = 256
user_dim = 64
[select]
budget = 3000
strategy = "fisher"
[tune]
head_epochs = 10000
[pipeline]
budget = 2000
[run]
threads = 1
"""


def _settings() -> causerie.Config:
    config = causerie.Config(SETTINGS)
    config.read(LONG)
    return config


_late: "list[str]" = []


def _stopped(name: str, call: Callable[[], Any], after: float = 0.3, kind: Type[BaseException] = KeyboardInterrupt) -> None:
    """Calls, sends SIGINT after a while, and looks that what it raises comes out soon."""
    sent: "list[tuple[float, float]]" = []

    def send() -> None:
        time.sleep(after)
        sent.append((time.monotonic(), time.process_time()))
        os.kill(os.getpid(), signal.SIGINT)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        call()
    except kind:
        late, used = time.monotonic() - sent[0][0], time.process_time() - sent[0][1]
        sender.join()
    else:
        raise AssertionError(f"{name}: it ended by itself before the signal; it is too short for this test")
    print(f"{name}: {late * 1000:.0f} ms, {used * 1000:.0f} of the processor", flush=True)
    if used > SOON or late > 10 * SOON:
        _late.append(f"{name}: {late:.2f} s after the signal")


def _stages(folder: Path, config: causerie.Config) -> None:
    big = _settings()
    big["simulate.users"], big["simulate.reviews"] = 400_000, 2_000_000
    _stopped("simulate", lambda: causerie.simulate(big, folder / "big"))
    dataset = causerie.Dataset()
    dataset.add_file(causerie.ITEMS, folder / "items.jsonl")
    many = folder / "many.jsonl"
    with open(folder / "reviews.jsonl", "rb") as source, open(many, "wb") as out:
        text = source.read()
        for _ in range(max(1, 150_000_000 // len(text))):
            out.write(text)
    _stopped("add_file", lambda: dataset.add_file(causerie.REVIEWS, many), 0.2)
    assert dataset.reviews == 0 and dataset.dropped == 0  # all or nothing
    several = causerie.Config(config.toml)
    several["dataset.reviews"] = str(many)
    _stopped("read", lambda: causerie.Dataset.read(several), 0.2)
    many.unlink()

    # What nothing can stop in C goes on by itself, and Python goes on at once.
    lines = b'{"item": "1", "text": "Nothing that would be about an item"}\n' * 4_000_000
    alone = causerie.Dataset()
    alone.add(causerie.ITEMS, [{"item": "1"}])
    _stopped("add", lambda: alone.add(causerie.REVIEWS, lines), 0.2)
    raises(causerie.Error, lambda: alone.add(causerie.ITEMS, [{"item": "2"}]), code=causerie.BUSY)
    while True:
        try:
            assert alone.add(causerie.ITEMS, [{"item": "2"}]) == 0
            break
        except causerie.Error as e:
            assert e.code == causerie.BUSY, e
            time.sleep(0.05)
    del alone, lines

    dataset = causerie.Dataset.read(config)
    _stopped("embed", lambda: causerie.Embeddings(dataset, config))
    _stopped("embed on two threads", lambda: causerie.Embeddings(dataset, config, run=causerie.Run(2)))
    embeddings = causerie.Embeddings(dataset, config)
    _stopped("select", lambda: causerie.Selection(embeddings, config, dataset), 0.1)
    js = causerie.Config(config.toml)
    js["select.strategy"], js["select.clusters"] = "js", 500
    _stopped("select js", lambda: causerie.Selection(embeddings, js, dataset))
    _stopped("centers", lambda: causerie.Selection.centers(embeddings, folder / "centers", js))
    config["select.strategy"] = "random"
    selection = causerie.Selection(embeddings, config, dataset)

    slow: "list[causerie.Request]" = []

    def teacher(request: causerie.Request) -> str:
        slow.append(request)
        time.sleep(0.02)
        return "1. Something moving, and not too long"

    journal = folder / "journal.jsonl"

    def synthesize() -> causerie.Dialogues:
        return causerie.Dialogues(dataset, selection, config, journal, teacher=teacher)

    _stopped("synthesize", synthesize)
    # What was answered is kept: it is not asked again.
    first = {request.id for request in slow}
    assert first and journal.exists()
    slow.clear()
    _stopped("synthesize again", synthesize)
    again = {request.id for request in slow}
    assert again and len(first & again) <= 2 * 2, (len(first), len(first & again))

    dialogues = causerie.Dialogues(dataset, selection, config)
    _stopped("tune", lambda: causerie.Model(dialogues, dataset, embeddings, config))
    short = causerie.Config(config.toml)
    short["tune.head_epochs"] = 1
    model = causerie.Model(dialogues, dataset, embeddings, short)
    r = causerie.Recommender(dataset, embeddings, model, config=config)
    _stopped("recommend_many", lambda: r.recommend_many(["something funny"] * 100_000, 10))
    _stopped("score_many", lambda: r.score_many(["something funny"] * 50_000))
    long = causerie.Config(config.toml)
    long["evaluate.bootstrap"] = 1_000_000
    _stopped("evaluate", lambda: causerie.Report.evaluate([r, r], config=long), 0.2)
    run = causerie.Run(1, on_progress=lambda p: True)
    _stopped("pipeline", lambda: causerie.pipeline(config, folder / "work", run=run))
    # The run serves again.
    assert causerie.Selection(embeddings, config, run=run).rows.shape == (3000,)
    del r, model, dialogues, selection, embeddings, dataset, config, several, js, long, short, run, big


def _other_signals(embeddings: causerie.Embeddings, config: causerie.Config, brief: causerie.Config) -> None:
    def late(*_: object) -> None:
        raise TimeoutError("the time is up")

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    begun = time.monotonic()
    raises(TimeoutError, lambda: causerie.Selection(embeddings, config), "the time is up")
    assert time.monotonic() - begun < 0.2 + 10 * SOON
    # One that raises nothing lets the call go on to its end, and is handled when it comes.
    heard: "list[float]" = []
    signal.signal(signal.SIGALRM, lambda *_: heard.append(time.monotonic()))
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
    assert len(causerie.Selection(embeddings, brief).rows) == 300
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert heard


def _threads(embeddings: causerie.Embeddings, config: causerie.Config) -> None:
    """Signals reach the main thread alone: on others a call is made in place, and ends by its run."""
    run, codes, ended = causerie.Run(1), [], threading.Event()

    def call() -> None:
        try:
            causerie.Selection(embeddings, config, run=run)
        except causerie.Error as e:
            codes.append(e.code)
        ended.set()

    thread = threading.Thread(target=call)
    thread.start()

    def wait() -> None:
        try:
            ended.wait()
        except KeyboardInterrupt:
            run.cancel()
            ended.wait()
            raise

    _stopped("a thread of one's own", wait)
    thread.join()
    assert codes == [causerie.CANCELLED], codes


def _asyncio(embeddings: causerie.Embeddings, config: causerie.Config) -> None:
    async def in_place() -> None:
        causerie.Selection(embeddings, config)

    # From 3.11 on asyncio's own handler cancels the task and raises nothing.
    _stopped("asyncio, in the loop", lambda: asyncio.run(in_place()))

    async def aside() -> None:
        run = causerie.Run()
        try:
            await asyncio.get_running_loop().run_in_executor(None, lambda: causerie.Selection(embeddings, config, run=run))
        except asyncio.CancelledError:
            run.cancel()
            raise

    if sys.version_info >= (3, 11):
        _stopped("asyncio, on a thread", lambda: asyncio.run(aside()))


def main(folder: Path) -> None:
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    config = _settings()
    causerie.simulate(config, folder)
    for key, file in (("dataset.items", "items.jsonl"), ("dataset.reviews", "reviews.jsonl"), ("evaluate.conversations", "conversations.jsonl")):
        config[key] = str(folder / file)
    _stages(folder, config)
    dataset = causerie.Dataset.read(config)
    brief = causerie.Config(config.toml)
    brief["embed.dim"] = 256
    embeddings = causerie.Embeddings(dataset, brief)
    config["select.strategy"], brief["select.budget"], brief["select.strategy"] = "fisher", 300, "fisher"
    _other_signals(embeddings, config, brief)
    _threads(embeddings, config)
    _asyncio(embeddings, config)
    # Again and again, at any moment of the call: nothing hangs, nothing is lost.
    small = causerie.Embeddings.of([[float((i * 7 + j * 13) % 11 + 1) for j in range(8)] for i in range(500)])
    few = causerie.Config(select_budget=20, run_threads=1)
    ends = {"interrupted": 0, "ended": 0}
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    for i in range(300):
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.00002 * (i % 100 + 1))
            causerie.Selection(small, few)
            signal.setitimer(signal.ITIMER_REAL, 0)
            ends["ended"] += 1
        except KeyboardInterrupt:
            ends["interrupted"] += 1
    print("at any moment:", ends)
    del dataset, embeddings, small, few, config, brief
    gc.collect()
    time.sleep(0.1)
    gc.collect()
    assert causerie.handles() == 0, causerie.handles()
    assert not _late, "\n".join(_late)
    print("interrupt ok")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
