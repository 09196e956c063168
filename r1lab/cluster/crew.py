"""The actors of a run and the processes that they hold: placed, started, listened to; a server that dies is started
again. Not what a run needs before it may start, nor how it ends (`r1lab.cluster.driver`)."""

import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from r1lab.cluster.actor import News, Place, ProcessActor
from r1lab.cluster.config import ClusterConfig
from r1lab.errors import RunError

POLL_SECONDS, RETRY_SECONDS, END_SECONDS = 0.2, 1.0, 5.0
"""Of a look at all actors, between two questions to one that does not answer, and for all to end what they hold."""
MOST_STARTS = 5
"""Of one server."""
CALLS_AT_ONCE = 4
"""Of an actor: a signal must not wait for the question for news."""
Start = Callable[["Member"], tuple[Sequence[str], Mapping[str, str]]]
"""The arguments of `r1lab` and the environment of a member's process."""


@dataclass(eq=False)
class Member:
    """One process of a run and the actor that holds it."""

    role: Literal["server", "trainer"]
    number: int
    bundle: int = 0
    """Of its placement group."""
    group: Any = None
    """The trainers have one, each server its own: Ray's head looks without a pause for another place for a part of a
    group, which takes a core."""
    actor: Any = None
    place: Place | None = None
    life: int = 0
    """Actors that it has had: what an earlier one says no longer counts."""
    starts: int = 0
    taken: int = 0
    """Lines of this actor's that were heard."""
    due: float | None = None
    """When a server that has lost its place is given up."""
    code: int | None = None
    """Exit code of what has ended and is not started again."""
    why: str = ""
    """Why it is lost."""
    is_silent: bool = False
    """Its actor does not answer, which may pass."""
    last_line: str = "nothing"
    signals: list[int] = field(default_factory=list)
    """To be sent: a signal's handler must not call Ray."""

    @property
    def title(self) -> str:
        return f"{self.role} {self.number}" + (f" on {self.place.host}" if self.place else "")

    @property
    def there(self) -> Place:
        assert self.place is not None  # it was placed before anything was started
        return self.place

    def poll(self) -> int | None:
        """As a process: its exit code, None while it runs."""
        return 1 if self.why else self.code

    def send_signal(self, number: int) -> None:
        self.signals.append(number)


class Crew:
    """All members; `turn` is to be called again and again."""

    def __init__(
        self,
        ray: Any,
        config: ClusterConfig,
        processes: int,
        *,
        say: Callable[[str], None],
        hear: Callable[[Member, int, str], None],
        start: Start,
        look: Callable[[], tuple[str, Sequence[str]]],
        check: Callable[[Member], str],
    ):
        """`hear(member, stream, line)` gets what processes print; `look` gives what actors are asked to look for,
        `check` says what is wrong with a member's place, or nothing."""
        self.ray, self.config, self.processes = ray, config, processes
        self.say, self.hear, self.start_of, self.look, self.check = say, hear, start, look, check
        self.servers = [Member("server", number) for number in range(config.servers.count)]
        self.trainers = [Member("trainer", number, number) for number in range(processes)]
        self.pending: dict[Any, tuple[Member, int, Callable[[Member, Any], None]]] = {}
        self.later: list[tuple[float, Callable[[], None]]] = []
        self.urls: list[str] = []
        """Of the servers, as the trainers know them."""
        self.moved: dict[str, str] = {}
        self.has_died = self.is_running = False
        self.fallen: list[Member] = []
        """Trainers that have ended, in that order."""
        self.logs = Path(tempfile.mkdtemp(prefix="r1lab-cluster-"))

    def log(self, member: Member) -> Path:
        return self.logs / f"{member.role}-{member.number}.log"

    def place_all(self) -> None:
        """Have Ray reserve what all need, and place their actors. RunError where it has no room in time."""
        from ray.util.placement_group import placement_group

        ends = time.monotonic() + self.config.wait_seconds
        bundles = self.config.bundles(self.processes)["trainers"]
        together = placement_group(bundles, strategy=self.config.trainers.where.upper())
        for trainer in self.trainers:
            trainer.group = together
        members = [*self.trainers, *self.servers]
        for member in members:
            self.engage(member)
        for member in members:
            if not member.group.wait(max(0.1, ends - time.monotonic())):
                raise RunError(
                    f"--cluster: Ray found no room for {member.title} within {self.config.wait_seconds:g} s "
                    "(wait_seconds): others use its machines; ray status says who"
                )
        while not all(member.place for member in members):
            self.turn()
            for member in members:
                if member.why or time.monotonic() > ends:
                    raise RunError(
                        f"--cluster: Ray placed no {member.role} {member.number}: {member.why or 'no answer'}"
                    )

    def engage(self, member: Member) -> None:
        """A new actor, which is asked where it has come to be."""
        from ray.util.placement_group import placement_group
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        own = dict(self.config.bundles(1)[f"{member.role}s"][0])
        if member.group is None:
            member.group = placement_group([dict(own)], strategy="PACK")
        options = {"num_cpus": own.pop("CPU"), "num_gpus": own.pop("GPU", 0), "resources": own, "max_restarts": 0}
        strategy = PlacementGroupSchedulingStrategy(member.group, member.bundle)
        maker = self.ray.remote(max_concurrency=CALLS_AT_ONCE, scheduling_strategy=strategy, **options)(ProcessActor)
        member.life, member.taken, member.is_silent = member.life + 1, 0, False
        member.actor = maker.remote()
        self.ask(member, member.actor.look.remote(*self.look()), self.placed)

    def ask(self, member: Member, call: Any, then: Callable[[Member, Any], None]) -> None:
        self.pending[call] = (member, member.life, then)

    def turn(self) -> None:
        """Send signals on, take what actors have answered, for a moment at most."""
        for member in self.trainers:
            while member.signals:
                member.actor.send_signal.remote(member.signals.pop(0))
        now = time.monotonic()
        due, self.later = (
            [each for each in self.later if each[0] <= now],
            [each for each in self.later if each[0] > now],
        )
        for _, again in due:
            again()
        if not self.pending:
            return time.sleep(POLL_SECONDS)
        calls = list(self.pending)
        for call in self.ray.wait(calls, num_returns=len(calls), timeout=POLL_SECONDS)[0]:
            member, life, then = self.pending.pop(call)
            if life == member.life and not member.why:
                self.take(member, call, then)
        for member in self.servers:
            if member.due is not None and time.monotonic() > member.due:
                self.give_up(member, f"no machine had room for it within {self.config.wait_seconds:g} s")

    def take(self, member: Member, call: Any, then: Callable[[Member, Any], None]) -> None:
        try:
            value = self.ray.get(call)
        except self.ray.exceptions.RayError as error:
            if isinstance(error, self.ray.exceptions.ActorUnavailableError) and then == self.news:
                member.is_silent = True
                self.later.append((time.monotonic() + RETRY_SECONDS, lambda: self.read(member)))
            else:
                self.lose(member, " ".join(str(getattr(error, "cause", None) or error).split())[:300])
        else:
            member.is_silent = False
            then(member, value)

    def placed(self, member: Member, place: Place) -> None:
        member.place = place
        if self.is_running:
            self.move(member)

    def launch(self, member: Member) -> None:
        """Start a member's process."""
        member.starts += 1
        arguments, environment = self.start_of(member)
        call = member.actor.start.remote(arguments, environment, str(Path.cwd()))
        self.ask(member, call, lambda member, _: self.read(member))

    def read(self, member: Member) -> None:
        if not member.why:
            self.ask(member, member.actor.read.remote(member.taken), self.news)

    def news(self, member: Member, news: News) -> None:
        member.taken = news.count
        if news.lines:
            with self.log(member).open("a", encoding="utf-8") as log:
                log.writelines(f"{line}\n" for _, line in news.lines)
        for stream, line in news.lines:
            member.last_line = line.strip() or member.last_line
            self.hear(member, stream, line)
        if news.code is None:
            return self.read(member)
        if member.role == "server" and self.is_running:
            return self.start_again(member, news.code)
        member.code = news.code
        self.fallen.append(member)

    def start_again(self, member: Member, code: int) -> None:
        """A server's process has ended; its place is still there."""
        self.has_died = True
        if member.starts == MOST_STARTS:
            return self.give_up(member, f"it was started {MOST_STARTS} times and said last: {member.last_line[:200]}")
        self.say(f"warning: {member.title} ended ({code}) and starts again; its log: {self.log(member)}")
        self.launch(member)

    def lose(self, member: Member, why: str) -> None:
        """An actor is gone, by itself or with its machine."""
        self.has_died = True
        if member.role == "trainer" or not self.is_running:
            member.why = why or "Ray does not say why"
            self.fallen.append(member)
            return
        if member.due is None:
            member.due = time.monotonic() + self.config.wait_seconds
            self.say(f"warning: {member.title} is lost with its actor; Ray looks for another place")
        if member.starts == MOST_STARTS:
            return self.give_up(member, f"it was started {MOST_STARTS} times")
        self.dismiss(member)
        # Ray may not know yet that a machine is gone, and would place it there again.
        member.life += 1
        self.later.append((time.monotonic() + RETRY_SECONDS, lambda: None if member.why else self.engage(member)))

    def move(self, member: Member) -> None:
        """A server has come to another place: start it there and tell the trainers."""
        if trouble := self.check(member):
            return self.give_up(member, trouble)
        member.due = None
        self.launch(member)
        url = url_of(member.there)
        self.moved[self.urls[member.number]] = url
        for trainer in self.trainers:
            if trainer.poll() is None:
                trainer.actor.tell_moved.remote(self.moved)
        self.say(f"{member.title} starts again, at {url} now; its log: {self.log(member)}")

    def give_up(self, member: Member, why: str) -> None:
        member.why, member.due, self.has_died = why, None, True
        self.dismiss(member)
        self.say(f"warning: {member.title} is given up: {why}; the run goes on without it")

    def dismiss(self, member: Member) -> None:
        """End a member's actor and give its place back."""
        from ray.util.placement_group import remove_placement_group

        with suppress(Exception):  # of Ray: it is gone, or soon will be
            self.ray.kill(member.actor)
        with suppress(Exception):
            remove_placement_group(member.group)
        member.group = None

    def close(self) -> None:
        """End every process and give the places back."""
        members = [member for member in (*self.servers, *self.trainers) if member.actor is not None]
        with suppress(Exception):  # whatever Ray has become
            calls = [member.actor.stop.remote() for member in members]
            self.ray.wait(calls, num_returns=len(calls), timeout=END_SECONDS)
        for member in members:
            self.dismiss(member)
        if not self.has_died:
            shutil.rmtree(self.logs, ignore_errors=True)


def url_of(place: Place) -> str:
    host = f"[{place.address}]" if ":" in place.address else place.address
    return f"http://{host}:{place.port}"


def how_ended(code: int) -> str:
    return f"was killed ({signal.Signals(-code).name})" if code < 0 else f"ended ({code})"
