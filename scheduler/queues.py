"""The waiting sessions of a snapshot as columns: plain integers, so that a compiled engine reads them as they are."""

from array import array
from collections.abc import Hashable, Iterable, Iterator
from functools import cached_property
from typing import Final, Generic, TypeVar

import msgspec

T = TypeVar("T", bound=Hashable)

#: In a column: there is no such number.
UNKNOWN: Final = -1

Row = tuple[int, ...]


class Shape(msgspec.Struct, frozen=True, cache_hash=True):
    """What one kernel needs of the agent under it. Requests of the same shape share all the work of placing."""

    needs: Row
    #: Any of these will do; empty: every architecture.
    architectures: frozenset[str] = frozenset()
    #: Only these agents, chosen by an admin; None: every agent of the resource group.
    designated: frozenset[str] | None = None


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A session that waits: `kernels` kernels of one shape, placed all or none."""

    session_id: str
    resource_group: str
    shape: Shape
    kernels: int = 1
    #: Among agents that are as good, those that have it are taken first. Empty: it makes no difference.
    image_id: str = ""
    #: Whose limits it counts against, in the order in which they are checked and named: keypair, group, domain.
    scopes: tuple[str, ...] = ()
    #: Rises with the time since when it waits (such as microseconds); ties go by session id.
    queued: int = 0
    #: Higher goes first.
    priority: int = 0
    #: Whose fair share it counts against.
    user: str = ""
    group: str = ""
    #: It is ended after so many seconds; None: it may run for ever.
    max_duration: int | None = None


class Coded(Generic[T]):
    """A column of values that repeat: each value once, in `values`, and for each session its number there.

    Filled first, read then.
    """

    def __init__(self) -> None:
        self.values: dict[T, int] = {}
        self.codes = array("q")

    def add(self, value: T) -> None:
        self.codes.append(self.values.setdefault(value, len(self.values)))

    def remove(self, session: int) -> None:
        """Take one out; the last has its place then."""
        self.codes[session] = self.codes[-1]
        self.codes.pop()

    def copy(self) -> "Coded[T]":
        made: Coded[T] = Coded()
        made.values, made.codes = dict(self.values), self.codes[:]
        return made

    def present(self) -> list[T]:
        """Those that some session has."""
        codes = set(self.codes) if len(self.values) > 1 else set(self.codes[:1])
        return [value for value, code in self.values.items() if code in codes]

    def value(self, session: int) -> T:
        return self._list[self.codes[session]]

    @cached_property
    def _list(self) -> list[T]:
        return list(self.values)

    def __iter__(self) -> Iterator[T]:
        values = self._list
        return iter([values[code] for code in self.codes])


class Queue:
    """Requests by columns, one entry a session in each. One that is part of a snapshot is only read."""

    def __init__(self) -> None:
        self.session_ids: list[str] = []
        self.resource_groups: Coded[str] = Coded()
        #: Numbers in `shapes`.
        self.shape = array("q")
        self.shapes: list[Shape] = []
        self.kernels = array("q")
        self.images: Coded[str] = Coded()
        self.scopes: Coded[tuple[str, ...]] = Coded()
        self.queued = array("q")
        self.priority = array("q")
        self.users: Coded[str] = Coded()
        self.groups: Coded[str] = Coded()
        #: Seconds, or `UNKNOWN`.
        self.max_duration = array("q")

    @classmethod
    def of(cls, requests: Iterable[Request]) -> "Queue":
        queue, shapes = cls(), dict[Shape, int]()
        for one in requests:
            queue.add(
                one.session_id,
                one.resource_group,
                shapes.setdefault(one.shape, len(shapes)),
                one.kernels,
                one.image_id,
                one.scopes,
                one.queued,
                one.priority,
                one.user,
                one.group,
                one.max_duration,
            )
        queue.shapes = list(shapes)
        return queue

    def add(
        self,
        session_id: str,
        resource_group: str,
        shape: int,
        kernels: int,
        image_id: str,
        scopes: tuple[str, ...],
        queued: int,
        priority: int,
        user: str,
        group: str,
        max_duration: int | None,
    ) -> None:
        """As in `Request`, the shape by its number."""
        self.session_ids.append(session_id)
        self.resource_groups.add(resource_group)
        self.shape.append(shape)
        self.kernels.append(kernels)
        self.images.add(image_id)
        self.scopes.add(scopes)
        self.queued.append(queued)
        self.priority.append(priority)
        self.users.add(user)
        self.groups.add(group)
        self.max_duration.append(UNKNOWN if max_duration is None else max_duration)

    def remove(self, session: int) -> None:
        """Take one out; the last has its place then."""
        self.session_ids[session] = self.session_ids[-1]
        self.session_ids.pop()
        for column in (self.shape, self.kernels, self.queued, self.priority, self.max_duration):
            column[session] = column[-1]
            column.pop()
        for coded in (self.resource_groups, self.images, self.scopes, self.users, self.groups):
            coded.remove(session)

    def copy(self) -> "Queue":
        """One that stays as it is when this one changes."""
        made = Queue()
        made.session_ids, made.shapes = self.session_ids[:], self.shapes[:]
        made.shape, made.kernels, made.queued = self.shape[:], self.kernels[:], self.queued[:]
        made.priority, made.max_duration = self.priority[:], self.max_duration[:]
        made.resource_groups, made.images = self.resource_groups.copy(), self.images.copy()
        made.scopes, made.users, made.groups = self.scopes.copy(), self.users.copy(), self.groups.copy()
        return made

    def __len__(self) -> int:
        return len(self.session_ids)

    def request(self, session: int) -> Request:
        """One of them as an object."""
        seconds = self.max_duration[session]
        return Request(
            session_id=self.session_ids[session],
            resource_group=self.resource_groups.value(session),
            shape=self.shapes[self.shape[session]],
            kernels=self.kernels[session],
            image_id=self.images.value(session),
            scopes=self.scopes.value(session),
            queued=self.queued[session],
            priority=self.priority[session],
            user=self.users.value(session),
            group=self.groups.value(session),
            max_duration=None if seconds == UNKNOWN else seconds,
        )

    def requests(self) -> tuple[Request, ...]:
        """One object a session, for plug-ins."""
        columns = zip(
            self.session_ids,
            self.resource_groups,
            [self.shapes[number] for number in self.shape],
            self.kernels,
            self.images,
            self.scopes,
            self.queued,
            self.priority,
            self.users,
            self.groups,
            [None if seconds == UNKNOWN else seconds for seconds in self.max_duration],
            strict=True,
        )
        return tuple(
            [
                Request(
                    session_id=session_id,
                    resource_group=resource_group,
                    shape=shape,
                    kernels=kernels,
                    image_id=image_id,
                    scopes=scopes,
                    queued=queued,
                    priority=priority,
                    user=user,
                    group=group,
                    max_duration=max_duration,
                )
                for (
                    session_id,
                    resource_group,
                    shape,
                    kernels,
                    image_id,
                    scopes,
                    queued,
                    priority,
                    user,
                    group,
                    max_duration,
                ) in columns
            ]
        )
