"""The lab, the castle and its runs for asyncio."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, Self, final

from castle_py import _castle
from castle_py._castle import Plan, Project, Report, Status
from castle_py.event import Event, event_of
from castle_py.exceptions import Problem, UnsupportedError
from castle_py.home import CastleFacts, Goal, LabFacts, LostLife, Milestone, course_of, open_house, seconds_of, waivers_of
from castle_py.secret import Secret

if TYPE_CHECKING:
    from uuid import UUID

__all__ = ["Castle", "Lab", "Run"]

_P = ParamSpec("_P")

# A loop that sleeps does not see that a handler of Ctrl-C cancelled a task (ipykernel's does that); one that wakes so
# often does.
_SLICE = 0.1


async def _finished(begin: Callable[_P, _castle.Task], *args: _P.args, **kwargs: _P.kwargs) -> Any:
    """Begins work on the home's thread and waits for it. A cancelled wait drops the work."""
    # Whoever awaits has loaded it; an import of castle alone does not pay for it.
    import asyncio

    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        told = "no event loop of asyncio runs here, and castle_py awaits on no other"
        hint = "use castle_py.sync, in a thread: `await trio.to_thread.run_sync(castle.create)`"
        raise UnsupportedError("unsupported", told, hint) from None
    done = loop.create_future()

    def settle() -> None:
        if not done.done():
            done.set_result(None)

    def tell() -> None:
        try:
            loop.call_soon_threadsafe(settle)
        except RuntimeError:
            pass  # the loop was closed meanwhile, and waits for nothing

    next_wake: asyncio.TimerHandle

    def wake() -> None:
        nonlocal next_wake
        next_wake = loop.call_later(_SLICE, wake)

    wake()
    try:
        task = begin(*args, **kwargs)
        try:
            task.when_done(tell)
            await done
        except BaseException:
            task.cancel()
            raise
    finally:
        next_wake.cancel()
    return task.result()


@final
class Run(AsyncIterator[Event]):
    """A run whose events are followed. It begins with the first event that is asked for.

    In a virtual lab time stands still while you look at an event: what you do then
    (another fault, a look at the journal) is done at that very moment.

    >>> async with castle.follow("create") as run:
    ...     async for event in run:
    ...         print(event)
    ...     report = await run.report()
    """

    def __init__(self, course: _castle.Course) -> None:
        self._course = course

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        raw = await _finished(self._course.next_event)
        if raw is None:
            raise StopAsyncIteration
        return event_of(raw)

    async def report(self) -> Report:
        """The report. The run goes on to its end, without showing further events."""
        return await _finished(self._course.report)  # type: ignore[no-any-return]

    def close(self) -> None:
        """Drops the run, as a power cut would. One that has ended is not touched."""
        self._course.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Run {self._course.goal}>"


@final
class Castle(CastleFacts):
    """A declared cluster, in a lab or in a house. Each call looks at the world anew.

    ``await`` it, cancel it, put a timeout around it: a call that is dropped stops,
    what it did is in the world, and the next call goes on with what it finds. A run
    that does not reach its goal gives a report all the same: look at ``outcome``, or
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

    async def plan(
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
        return await _finished(  # type: ignore[no-any-return]
            self._home.plan,
            goal,
            until=until,
            lost_life=lost_life,
            replaces=replaces,
            abandon=abandon,
            waive_data=waive_data,
            waive_ownership=waivers_of(waive_ownership),
        )

    async def check(self) -> list[Problem]:
        """Looks for everything that would stop the first create. Reads only."""
        return await _finished(self._home.check)  # type: ignore[no-any-return]

    async def status(self) -> Status:
        """Looks, and changes nothing."""
        return await _finished(self._home.status)  # type: ignore[no-any-return]

    async def create(self, *, until: Milestone | None = None, lost_life: LostLife = "ask") -> Report:
        """Brings the cluster to life, from whatever is there, as far as ``until``."""
        return await self.follow("create", until=until, lost_life=lost_life).report()

    async def handover(self, *, until: Milestone | None = None) -> Report:
        """Hands the cluster that stands over to Flux."""
        return await self.follow("handover", until=until).report()

    async def rebirth(
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
        return await run.report()

    async def destroy(
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
        return await run.report()

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

    async def kubeconfig(self) -> Secret:
        """An administrator's kubeconfig. Raises ``UnsupportedError`` in a virtual lab."""
        return Secret(await _finished(self._home.credential, "kubeconfig"))

    async def talosconfig(self) -> Secret:
        """An administrator's talosconfig. Raises ``UnsupportedError`` in a virtual lab."""
        return Secret(await _finished(self._home.credential, "talosconfig"))


@final
class Lab(LabFacts):
    """A simulated home in which a castle can stand.

    In virtual time (the default) it stands still between calls, does one thing at a
    time, and one seed is one history. At ``pace="60x"`` a minute there is a second
    here, and other programs can join.

    >>> async with Lab(project, seed=7) as lab:
    ...     report = await lab.castle().rebirth()
    """

    def castle(self) -> Castle:
        """The castle in it. Each call of it is a new engine without a memory."""
        castle: Castle = Castle._in(self._home)
        return castle

    async def advance(self, time: float | timedelta) -> None:
        """Moves virtual time by hand, in seconds or a ``timedelta``."""
        await _finished(self._home.advance, seconds_of(time))

    async def delay_webhook(self, namespace: str, service: str, time: float | timedelta) -> None:
        """Lets the webhook behind a service answer so much later than its pod is ready."""
        await _finished(self._home.delay_webhook, namespace, service, seconds_of(time))

    async def webhook_answers_since(self, namespace: str, service: str) -> float | None:
        """Since when it truly answers, in the lab's seconds. No client can read this."""
        return await _finished(self._home.webhook_answers_since, namespace, service)  # type: ignore[no-any-return]

    async def serve(self, folder: str | os.PathLike[str]) -> Path:
        """Writes ``lab.yaml`` into a private folder, for ``Castle.open`` and the command line.

        The secrets of the lab's castle move there too. Raises ``UnsupportedError`` in
        virtual time, with the way to do it right.
        """
        return await _finished(self._home.serve, folder)  # type: ignore[no-any-return]

    async def kubeconfig(self) -> Secret:
        """The kubeconfig of its castle. Raises ``UnsupportedError`` in virtual time."""
        return await self.castle().kubeconfig()

    async def close(self) -> None:
        """Ends the lab and its thread; the home is lost. Closing twice is once."""
        self._home.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Not awaited: a lab closes in milliseconds, and a cancelled block closes it too.
        self._home.close()
