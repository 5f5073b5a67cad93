"""Chains in processes of their own, whose only way out is a pipe to this one.

A child computes and sends; it writes no file and sees no signal. When this process ends, however
it ends, the pipe breaks and the child ends after its step. Objects are pickled between the two, as
`multiprocessing` does everywhere; nothing of it reaches the disk.
"""

import pickle
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

import torch

from probact.inference.chains.interrupts import Interrupts
from probact.inference.chains.recording import Batch, Outlet, Stopped, Words
from probact.inference.threads import limited_threads

__all__ = ["run_in_processes"]

Job = tuple[int, Any]  # chain, and what `run` needs to know of it
Run = Callable[[Any, Job, Outlet], None]

_POLL = 0.5  # seconds between two looks at the signals
_TICK = 0.2  # seconds between two ticks of a child
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_ERRORS = {
    kind.__name__: kind for kind in (ValueError, TypeError, NotImplementedError, MemoryError)
}


class Worker(NamedTuple):
    """A child with the chains that it runs one after the other."""

    process: BaseProcess
    connection: Connection
    jobs: Sequence[Job]


def run_in_processes(
    run: Run,
    task: Any,
    jobs: Sequence[Job],
    outlet: Outlet,
    *,
    processes: int,
    caught: Interrupts,
) -> None:
    """`run(task, job, outlet)` for every job in at most `processes` children at once.

    Raises: Stopped when the chains were asked to stop; ValueError when the model, the data or the
    kernel cannot be sent to a child; RuntimeError naming the chain of a child that died; what a
    chain itself raises.
    """
    shares = [jobs[i::processes] for i in range(min(processes, len(jobs)))]
    payloads = [_pickled((run, task, share, outlet.every, outlet.states)) for share in shares]
    workers: list[Worker] = []
    try:
        for share in shares:
            workers.append(_start(share))
        for worker, payload in zip(workers, payloads, strict=True):
            _hand_over(worker, payload)
        _listen(workers, outlet, caught)
    finally:
        for worker in workers:
            worker.process.kill()
            worker.process.join()
            worker.connection.close()


def _pickled(value: Any) -> bytes:
    """The bytes of what a child needs, checked before any child is started."""
    try:
        return pickle.dumps(value)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(
            "processes > 1 sends model, data and kernel to other processes, which is not possible"
            f" here ({error}); define them in a module, not in a function, or pass processes=1"
        ) from error


def _start(jobs: Sequence[Job]) -> Worker:
    """A child that waits for its jobs."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, torch.get_num_threads()), daemon=True)
    with _held_back():  # a terminal's Ctrl-C would end a child that is still importing
        process.start()
    theirs.close()  # else the pipe would not break when the child dies
    return Worker(process, ours, jobs)


def _hand_over(worker: Worker, payload: bytes) -> None:
    """Send a child its jobs. Raises: RuntimeError when it is dead."""
    try:
        worker.connection.send_bytes(payload)
    except (BrokenPipeError, ConnectionResetError):
        raise _died(worker, worker.jobs[0][0]) from None


@contextmanager
def _held_back() -> Iterator[None]:
    """Without signals in this thread and in children that it starts, until the block ends."""
    if sys.platform == "win32":  # has no masks; a child there is not started by a fork
        yield
        return
    resource_tracker.ensure_running()  # which, once it runs, leaves the mask alone
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _listen(workers: Sequence[Worker], outlet: Outlet, caught: Interrupts) -> None:
    """Hand on what the children send until all are done.

    Raises: Stopped, or the error of a child.
    """
    open_, stopped, told = {worker.connection: worker for worker in workers}, False, False
    at = {worker.connection: worker.jobs[0][0] for worker in workers}  # the chain it runs
    while open_:
        for connection in wait(list(open_), timeout=_POLL):
            assert isinstance(connection, Connection)
            try:
                kind, *rest = connection.recv()
            except (EOFError, ConnectionResetError):
                raise _died(open_[connection], at[connection]) from None
            match kind:
                case "chain":
                    at[connection] = rest[0]
                case "tick":
                    chain, iteration, words = rest
                    outlet.tick(chain, iteration, dict(words).copy)
                case "batch":
                    outlet.emit(rest[0])
                case "error":
                    raise _error(at[connection], *rest)
                case "done":
                    stopped |= rest[0]
                    del open_[connection]
        if caught.requested() and not told:
            told = True
            for connection in open_:
                connection.send("stop")
    if stopped:
        raise Stopped


def _died(worker: Worker, chain: int) -> RuntimeError:
    """The error for a child that ended without a word."""
    worker.process.join(5.0)
    code = worker.process.exitcode
    hint = ""
    if code == 1:
        hint = '; a script that passes processes= must call sample under if __name__ == "__main__"'
    return RuntimeError(f"chain {chain} died: its process ended with exit code {code}{hint}")


def _error(chain: int, kind: str, text: str, trace: str) -> Exception:
    """The error of a chain, here."""
    error = _ERRORS[kind](text) if kind in _ERRORS else RuntimeError(f"{kind}: {text}")
    error.add_note(f"in the process of chain {chain}:\n{trace}")
    return error


def _work(connection: Connection, threads: int) -> None:
    """What a child does: no signals, its chains one after the other, on the parent's threads."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # the parent says when to stop
    try:
        payload = connection.recv_bytes()
        with limited_threads(threads):
            connection.send(("done", _run_jobs(payload, connection)))
    except (BrokenPipeError, ConnectionResetError, EOFError):
        pass  # the parent is gone
    except Exception as error:
        report = (type(error).__name__, str(error), traceback.format_exc())
        connection.send(("error", *report))


def _run_jobs(payload: bytes, connection: Connection) -> bool:
    """Whether the chains were stopped."""
    try:
        run, task, jobs, every, states = pickle.loads(payload)
    except (AttributeError, ImportError) as error:
        raise ValueError(
            f"processes > 1 needs model and kernel in a module that can be imported: {error}"
        ) from error
    told = 0.0

    def tick(chain: int, iteration: int, words: Words) -> None:
        nonlocal told
        if time.monotonic() - told > _TICK:
            told = time.monotonic()
            connection.send(("tick", chain, iteration, dict(words())))

    def emit(batch: Batch) -> None:
        connection.send(("batch", batch))

    outlet = Outlet(emit, every, tick, connection.poll, states)
    for job in jobs:
        connection.send(("chain", job[0]))
        try:
            run(task, job, outlet)
        except Stopped:
            return True
    return False
