"""What callbacks say, raise and do: nothing of it crashes, hangs or is lost. argv: a folder."""

from __future__ import annotations

import ctypes
import gc
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable

import causerie
from domain import Domain, domain, raises, run_all

try:
    import numpy as np
except ImportError:
    np = None  # type: ignore[assignment]


def _embed(d: Domain, on_progress: Callable[[causerie.Progress], object]) -> causerie.Embeddings:
    return causerie.Embeddings(d.dataset, d.config, run=causerie.Run(1, on_progress=on_progress))


def _on_a_thread(work: Callable[[], None]) -> None:
    """What `work` raises on a thread of its own is raised here."""
    thrown: "list[BaseException]" = []

    def go() -> None:
        try:
            work()
        except BaseException as e:
            thrown.append(e)

    thread = threading.Thread(target=go)
    thread.start()
    thread.join()
    if thrown:
        raise thrown[0]


def false_stops_and_all_else_goes_on(d: Domain) -> None:
    stops: "list[object]" = [False] + ([np.False_] if np is not None else [])
    for said in stops:
        raises(causerie.Error, lambda: _embed(d, lambda p: said), code=causerie.CANCELLED)  # noqa: B023
    for goes in (None, True, 0, 1, "", "stop", [], object(), float("nan"), NotImplemented, causerie, Exception()):
        assert _embed(d, lambda p: goes).shape == (600, 16)  # noqa: B023
    # Only that call: the run serves again at once.
    answers = iter([False])
    run = causerie.Run(1, on_progress=lambda p: next(answers, None))
    raises(causerie.Error, lambda: causerie.Embeddings(d.dataset, d.config, run=run), code=causerie.CANCELLED)
    assert causerie.Embeddings(d.dataset, d.config, run=run).shape == (600, 16)


def what_a_callback_raises_comes_out_as_it_is(d: Domain) -> None:
    class Own(BaseException):
        pass

    for thrown in (KeyError("x"), SystemExit(3), KeyboardInterrupt(), GeneratorExit(), StopIteration(), Own(), MemoryError()):
        def broken(_: object) -> None:
            raise thrown  # noqa: B023

        for on in (lambda work: work(), _on_a_thread):
            came = raises(type(thrown), lambda: on(lambda: _embed(d, broken)))  # noqa: B023
            assert came is thrown, came
    # In the last report of a call that went well too: what was raised is not lost.
    seen = 0

    def count(_: object) -> None:
        nonlocal seen
        seen += 1

    _embed(d, count)
    left = seen

    def at_the_end(_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise KeyError("at the end")

    raises(KeyError, lambda: _embed(d, at_the_end))


def callbacks_run_on_the_thread_that_made_the_call(d: Domain) -> None:
    def work() -> None:
        here, seen = threading.get_ident(), set()
        _embed(d, lambda p: seen.add(threading.get_ident()))
        assert seen == {here}, (seen, here)

    work()
    _on_a_thread(work)


def a_callback_that_closes_what_the_call_uses(d: Domain) -> None:
    dataset = causerie.Dataset.read(d.config)
    config = causerie.Config(d.config.toml)
    run: causerie.Run

    def close(_: object) -> None:
        dataset.close()
        config.close()
        run.close()
        gc.collect()

    run = causerie.Run(1, on_progress=close)
    assert causerie.Embeddings(dataset, config, run=run).shape == (600, 16)
    for handle in (dataset, config, run):
        raises(causerie.ClosedError, lambda: handle.raw, "closed")  # noqa: B023
    raises(causerie.ClosedError, lambda: causerie.Embeddings(d.dataset, d.config, run=run))


def a_callback_that_calls_in_again_with_the_same_handles(d: Domain) -> None:
    dataset = causerie.Dataset.read(d.config)
    said: "list[Any]" = []
    run: causerie.Run

    def again(_: object) -> None:
        if said:
            return
        said.append(dataset.title(0))
        # One call has it, and this needs it alone.
        said.append(raises(causerie.Error, lambda: dataset.add(causerie.ITEMS, [{"item": "x"}]), code=causerie.BUSY))
        said.append(run.poll().stage)
        said.append(causerie.Embeddings(dataset, d.config, run=run).shape)
        said.append(causerie.Embeddings(dataset, d.config).shape)

    run = causerie.Run(1, on_progress=again)
    for on in (lambda work: work(), _on_a_thread):
        said.clear()
        on(lambda: causerie.Embeddings(dataset, d.config, run=run))
        assert len(said) == 5 and said[4] == (600, 16), said
    cancelled = causerie.Run(1, on_progress=lambda p: cancelled.cancel())
    raises(causerie.Error, lambda: causerie.Embeddings(dataset, d.config, run=cancelled), code=causerie.CANCELLED)
    raises(causerie.Error, lambda: causerie.Embeddings(dataset, d.config, run=cancelled), code=causerie.CANCELLED)
    cancelled.reset()


def calls_at_once_on_one_run_each_get_their_own_exception(d: Domain) -> None:
    def broken(_: object) -> None:
        raise KeyError(threading.get_ident())

    run = causerie.Run(1, on_progress=broken)
    wrong: "list[object]" = []

    def work() -> None:
        for _ in range(20):
            try:
                causerie.Embeddings(d.dataset, d.config, run=run)
                wrong.append("nothing was raised")
            except BaseException as e:
                if not isinstance(e, KeyError) or e.args != (threading.get_ident(),):
                    wrong.append(e)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, wrong


def teachers_that_answer_garbage_raise_or_ask_for_less_than_no_time(d: Domain) -> None:
    config = causerie.Config(d.config.toml)
    config["synthesize.retries"] = 2

    def taught(teacher: Any) -> causerie.Dialogues:
        return causerie.Dialogues(d.dataset, d.selection, config, teacher=teacher)

    for garbage in (None, 7, b"text", ("text", 1, 2), ["text"], object(), causerie.Answer(7), causerie.Answer(None)):  # type: ignore[arg-type]
        raises(TypeError, lambda: taught(lambda r: garbage), "a teacher gives")  # noqa: B023
    raises(ValueError, lambda: taught(lambda r: causerie.Answer("x", -1)), "prompt_tokens")
    for thrown in (KeyError("x"), SystemExit(3), KeyboardInterrupt(), StopIteration()):
        def broken(_: object) -> None:
            raise thrown  # noqa: B023

        came = raises(type(thrown), lambda: taught(broken))  # noqa: B023
        assert came is thrown, came
    raises(TypeError, lambda: taught(7), "callable")
    asked = 0

    def hasty(request: causerie.Request) -> str:
        nonlocal asked
        asked += 1
        if request.attempt == 0:
            raise causerie.TeacherError(causerie.FAIL_THROTTLED, "\ud800 too many", -(10**30) if asked % 2 else -0.5)
        if request.kind == causerie.ASK_QUERY:
            return f"Something moving for evening number {request.seed % 1000}, not too long"
        return "\n".join(f"{i + 1}. {d.dataset.title((request.seed + i * 7) % d.dataset.items)}" for i in range(20))

    dialogues = taught(hasty)
    assert len(dialogues) > 0 and asked > len(dialogues)
    raises(causerie.Error, lambda: taught(lambda r: (_ for _ in ()).throw(causerie.TeacherError(causerie.FAIL_REFUSED, "no"))), code=causerie.TEACHER)
    for never in (float("nan"), float("inf")):
        late = causerie.TeacherError(causerie.FAIL_THROTTLED, "later", never)
        raises(ValueError, lambda: taught(lambda r: (_ for _ in ()).throw(late)), "retry_after_ms")  # noqa: B023
    wrong = causerie.TeacherError(77)
    raises(causerie.Error, lambda: taught(lambda r: (_ for _ in ()).throw(wrong)), code=causerie.INVALID)
    # A teacher may use what the synthesis uses.
    raises(causerie.Error, lambda: taught(lambda r: d.dataset.add(causerie.ITEMS, [{"item": "x"}])), code=causerie.BUSY)


def a_log_that_raises_disturbs_no_call(d: Domain) -> None:
    heard: "list[str]" = []
    unraisable: "list[Any]" = []
    before, sys.unraisablehook = sys.unraisablehook, lambda u: unraisable.append(u.exc_type)

    def tell(level: int, text: str) -> None:
        heard.append(text)
        raise KeyError(text)

    try:
        causerie.log(tell, 4)
        dataset = causerie.Dataset()
        dataset.add(causerie.ITEMS, [{"item": "1"}, {"itm": "2"}])
        _embed(d, lambda p: None)
    finally:
        causerie.log(None)
        sys.unraisablehook = before
    assert heard and unraisable == [KeyError] * len(heard), (heard, unraisable)
    heard.clear()
    causerie.Dataset().add(causerie.ITEMS, [{"item": "1"}, {"itm": "2"}])
    assert not heard


def _ends(d: Domain, program: str, code: int, said: str = "", *arguments: str) -> None:
    """Runs a program with the domain's files, to its end: its own code, and nothing on stderr."""
    head = (
        "import os, sys, threading, time, causerie\n"
        "from causerie import Config, Dataset, Dialogues, Embeddings, Run, Selection\n"
        "config = Config(open(sys.argv[1]).read())\n"
        "dataset = Dataset.read(config)\n"
    )
    settings = d.folder / "program.toml"
    settings.write_text(d.config.toml)
    command = [sys.executable, "-c", head + program, str(settings), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120, text=True)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (code, said, ""), done


def a_program_that_ended_beside_calls_with_callbacks_aborted_or_hung(d: Domain) -> None:
    program = """
config["select.strategy"], config["synthesize.in_flight"] = "fisher", 8
embeddings = Embeddings(dataset, config)
selection = Selection(embeddings, config, dataset)
heard = threading.Event()
def teacher(request):
    heard.set()
    time.sleep(0.002)
    return "Something moving, and not too long"
def work():
    run = Run(on_progress=lambda p: None)
    while True:
        Embeddings(dataset, config, run=run)
        Selection(embeddings, config, dataset, run=run)
        try:
            Dialogues(dataset, selection, config, teacher=teacher, run=run)
        except causerie.Error:
            pass
causerie.log(lambda level, text: None, 4)
for _ in range(3):
    threading.Thread(target=work, daemon=True).start()
heard.wait()
time.sleep(float(sys.argv[2]))
print("end", flush=True)
sys.exit(3)
"""
    for after in ("0", "0.02", "0.05", "0.11", "0.17", "0.31"):
        _ends(d, program, 3, "end", after)
    # A thread that the program waits for goes on to its end.
    _ends(d, "threading.Thread(target=lambda: print(Embeddings(dataset, config, run=Run(1, lambda p: time.sleep(0.01))).shape)).start()", 0, "(600, 16)")


def a_long_call_in_a_destructor_at_the_end_of_the_program_hung(d: Domain) -> None:
    program = """
class Last:
    def __init__(self):
        self.circle, self.dataset, self.config, self.make = self, dataset, config, Embeddings
    def __del__(self):
        print(self.make(self.dataset, self.config).shape, flush=True)
last = Last()
"""
    _ends(d, program, 0, "(600, 16)")
    _ends(d, "import atexit\natexit.register(lambda: print(Embeddings(dataset, config).shape))", 0, "(600, 16)")


def what_a_destructor_uses_was_ended_before_it_by_the_collector(d: Domain) -> None:
    seen: "list[Any]" = []

    class Circle:
        def __init__(self) -> None:
            self.me, self.config, embeddings = self, causerie.Config(select_budget=77), causerie.Embeddings.of([[1.0, 2.0], [3.0, 4.0]])
            self.values = embeddings.values

        def __del__(self) -> None:
            try:
                seen.append((self.config["select.budget"], float(self.values[1, 1])))
            except causerie.Error as e:
                seen.append(e)

    Circle()
    gc.collect()
    assert seen == [("77", 4.0)], seen


def a_run_made_again_in_its_own_callback_crashed(d: Domain) -> None:
    run: causerie.Run

    def again(_: object) -> None:
        try:
            run.__init__()  # type: ignore[misc]
        finally:
            gc.collect()
            [causerie.Run(on_progress=lambda p: None) for _ in range(50)]

    run = causerie.Run(1, on_progress=again)
    for on in (lambda work: work(), _on_a_thread):
        raises(TypeError, lambda: on(lambda: causerie.Embeddings(d.dataset, d.config, run=run)), "make another")  # noqa: B023
    for handle in (d.dataset, d.config, causerie.Query("x")):
        raises(TypeError, lambda: handle.__init__(), "make another")  # type: ignore[misc] # noqa: B023


def a_child_forked_in_a_callback_hung_when_it_left(d: Domain) -> None:
    if not hasattr(os, "fork"):
        return
    for leave, code in (("sys.exit(3)", 3), ("return", 4)):
        program = f"""
import signal
children = []
def fork(p):
    if children:
        return
    children.append(os.fork())
    if children[0] == 0:
        signal.alarm(20)
        {leave}
    children.append(os.waitpid(children[0], 0)[1] >> 8)
try:
    Embeddings(dataset, config, run=Run(1, fork))
except causerie.Error as e:
    sys.exit(4 if e.code == causerie.CANCELLED else 5)
print(children[1])
"""
        _ends(d, program, 0, str(code))


def what_another_thread_raised_in_a_call_with_callbacks_was_lost(d: Domain) -> None:
    class Own(Exception):
        pass

    for _ in range(10):
        came: "list[BaseException]" = []
        began = threading.Event()

        def work() -> None:
            try:
                while True:
                    began.set()
                    _embed(d, lambda p: None)
            except BaseException as e:
                came.append(e)  # noqa: B023

        thread = threading.Thread(target=work)
        thread.start()
        began.wait()
        time.sleep(0.02)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(Own))
        thread.join(20)
        assert [type(e) for e in came] == [Own], came


def main(folder: Path) -> None:
    run_all(globals(), domain(folder))
    gc.collect()
    assert causerie.handles() == 0, causerie.handles()
    print("callbacks ok")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
