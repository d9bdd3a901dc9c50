"""What blocks: the same names as :mod:`castle_py` itself, and each call returns when its work is done.

Works in a plain program, in a thread, and inside a running event loop (a notebook), which then waits as well. Other
threads run on meanwhile, and Ctrl-C is heard within 0.3 s.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, Self, final

from castle_py import _castle
from castle_py._castle import Plan, Project, Report, Status
from castle_py.event import Event, event_of
from castle_py.exceptions import Problem
from castle_py.home import CastleFacts, Goal, LabFacts, LostLife, Milestone, course_of, open_house, seconds_of, waivers_of
from castle_py.secret import Secret

if TYPE_CHECKING:
    from uuid import UUID

__all__ = ["Castle", "Lab", "Run"]

_P = ParamSpec("_P")


@contextlib.contextmanager
def _hearing() -> Iterator[Callable[[], None] | None]:
    """What raises once Ctrl-C was struck, where its handler only takes a note for a loop that cannot run meanwhile."""
    # Python hears signals in its main thread only, and without a running loop its own handler raises.
    if threading.current_thread() is not threading.main_thread() or "asyncio" not in sys.modules:
        yield None
        return
    import asyncio  # it is loaded: an import of castle alone does not pay for it

    theirs = signal.getsignal(signal.SIGINT)
    if asyncio._get_running_loop() is None or not callable(theirs):
        yield None
        return
    struck = False

    def take_note(number: int, frame: FrameType | None) -> None:
        nonlocal struck
        struck = True
        theirs(number, frame)

    def interrupted() -> None:
        if not struck:
            return
        # A handler that cancels this very task (asyncio.run's does) has said how it wants it told.
        task = asyncio.current_task()
        raise asyncio.CancelledError if task is not None and task.cancelling() > before else KeyboardInterrupt

    task = asyncio.current_task()
    before = 0 if task is None else task.cancelling()
    signal.signal(signal.SIGINT, take_note)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, theirs)


def _finished(begin: Callable[_P, _castle.Task], *args: _P.args, **kwargs: _P.kwargs) -> Any:
    """Begins work on the home's thread and waits for it. Ctrl-C drops the work."""
    with _hearing() as interrupted:
        task = begin(*args, **kwargs)
        task.wait(interrupted)
    return task.result()


@final
class Run(Iterator[Event]):
    """A run whose events are followed. It begins with the first event that is asked for.

    In a virtual lab time stands still while you look at an event: what you do then
    (another fault, a look at the journal) is done at that very moment.

    >>> with castle.follow("create") as run:
    ...     for event in run:
    ...         print(event)
    ...     report = run.report()
    """

    def __init__(self, course: _castle.Course) -> None:
        self._course = course

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        raw = _finished(self._course.next_event)
        if raw is None:
            raise StopIteration
        return event_of(raw)

    def report(self) -> Report:
        """The report. The run goes on to its end, without showing further events."""
        return _finished(self._course.report)  # type: ignore[no-any-return]

    def close(self) -> None:
        """Drops the run, as a power cut would. One that has ended is not touched."""
        self._course.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Run {self._course.goal}>"


@final
class Castle(CastleFacts):
    """A declared cluster, in a lab or in a house. Each call looks at the world anew.

    A call that Ctrl-C interrupts stops, what it did is in the world, and the next
    call goes on with what it finds. A run that does not reach its goal gives a report all the same: look at ``outcome``, or
    call ``raise_for_outcome()``.
    """

    @staticmethod
    def open(project: Project | str | os.PathLike[str], options: str | os.PathLike[str]) -> Castle:
        """The castle of a house, or of a lab that another process serves.

        ``options`` is the option document. A removal there asks for the cluster's
        name: ``confirm="blue"``.
        """
        castle: Castle = Castle._in(open_house(project, options))
        return castle

    def plan(
        self,
        goal: Goal = "create",
        *,
        until: Milestone | None = None,
        lost_life: LostLife = "ask",
        replaces: int | None = None,
        abandon: bool = False,
        waive_data: str | None = None,
        waive_ownership: Mapping[int, str | UUID] | None = None,
    ) -> Plan:
        """Looks, and decides what ``goal`` needs. Reads only."""
        return _finished(  # type: ignore[no-any-return]
            self._home.plan,
            goal,
            until=until,
            lost_life=lost_life,
            replaces=replaces,
            abandon=abandon,
            waive_data=waive_data,
            waive_ownership=waivers_of(waive_ownership),
        )

    def check(self) -> list[Problem]:
        """Looks for everything that would stop the first create. Reads only."""
        return _finished(self._home.check)  # type: ignore[no-any-return]

    def status(self) -> Status:
        """Looks, and changes nothing."""
        return _finished(self._home.status)  # type: ignore[no-any-return]

    def create(self, *, until: Milestone | None = None, lost_life: LostLife = "ask") -> Report:
        """Brings the cluster to life, from whatever is there, as far as ``until``."""
        return self.follow("create", until=until, lost_life=lost_life).report()

    def handover(self, *, until: Milestone | None = None) -> Report:
        """Hands the cluster that stands over to Flux."""
        return self.follow("handover", until=until).report()

    def rebirth(
        self,
        *,
        until: Milestone | None = None,
        replaces: int | None = None,
        abandon: bool = False,
        waive_data: str | None = None,
        waive_ownership: Mapping[int, str | UUID] | None = None,
        confirm: str | None = None,
    ) -> Report:
        """Ends what stands and begins the next life.

        ``replaces`` names the life that is to be replaced, which makes it a request
        that can be repeated: once a newer life exists, it finishes that one.
        """
        run = self.follow(
            "rebirth",
            until=until,
            replaces=replaces,
            abandon=abandon,
            waive_data=waive_data,
            waive_ownership=waive_ownership,
            confirm=confirm,
        )
        return run.report()

    def destroy(
        self,
        *,
        waive_data: str | None = None,
        waive_ownership: Mapping[int, str | UUID] | None = None,
        confirm: str | None = None,
    ) -> Report:
        """Removes every machine that is provably the castle's.

        Once the secret store is lost nothing proves that. ``waive_ownership={421: "its uuid"}`` says of one
        machine that it is yours all the same; it fits this machine and no other.
        """
        run = self.follow("destroy", waive_data=waive_data, waive_ownership=waive_ownership, confirm=confirm)
        return run.report()

    def follow(
        self,
        goal: Goal,
        *,
        until: Milestone | None = None,
        lost_life: LostLife = "ask",
        replaces: int | None = None,
        abandon: bool = False,
        waive_data: str | None = None,
        waive_ownership: Mapping[int, str | UUID] | None = None,
        confirm: str | None = None,
    ) -> Run:
        """A run whose events can be followed."""
        course = course_of(
            self._home,
            goal,
            until=until,
            lost_life=lost_life,
            replaces=replaces,
            abandon=abandon,
            waive_data=waive_data,
            waive_ownership=waive_ownership,
            confirm=confirm,
        )
        return Run(course)

    def kubeconfig(self) -> Secret:
        """An administrator's kubeconfig. Raises ``UnsupportedError`` in a virtual lab."""
        return Secret(_finished(self._home.credential, "kubeconfig"))

    def talosconfig(self) -> Secret:
        """An administrator's talosconfig. Raises ``UnsupportedError`` in a virtual lab."""
        return Secret(_finished(self._home.credential, "talosconfig"))


@final
class Lab(LabFacts):
    """A simulated home in which a castle can stand.

    In virtual time (the default) it stands still between calls, does one thing at a
    time, and one seed is one history. At ``pace="60x"`` a minute there is a second
    here, and other programs can join.

    >>> with Lab(project, seed=7) as lab:
    ...     report = lab.castle().rebirth()
    """

    def castle(self) -> Castle:
        """The castle in it. Each call of it is a new engine without a memory."""
        castle: Castle = Castle._in(self._home)
        return castle

    def advance(self, time: float | timedelta) -> None:
        """Moves virtual time by hand, in seconds or a ``timedelta``."""
        _finished(self._home.advance, seconds_of(time))

    def delay_webhook(self, namespace: str, service: str, time: float | timedelta) -> None:
        """Lets the webhook behind a service answer so much later than its pod is ready."""
        _finished(self._home.delay_webhook, namespace, service, seconds_of(time))

    def webhook_answers_since(self, namespace: str, service: str) -> float | None:
        """Since when it truly answers, in the lab's seconds. No client can read this."""
        return _finished(self._home.webhook_answers_since, namespace, service)  # type: ignore[no-any-return]

    def serve(self, folder: str | os.PathLike[str]) -> Path:
        """Writes ``lab.yaml`` into a private folder, for ``Castle.open`` and the command line.

        The secrets of the lab's castle move there too. Raises ``UnsupportedError`` in
        virtual time, with the way to do it right.
        """
        return _finished(self._home.serve, folder)  # type: ignore[no-any-return]

    def kubeconfig(self) -> Secret:
        """The kubeconfig of its castle. Raises ``UnsupportedError`` in virtual time."""
        return self.castle().kubeconfig()

    def close(self) -> None:
        """Ends the lab and its thread; the home is lost. Closing twice is once."""
        self._home.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._home.close()
