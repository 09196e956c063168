"""Slots on the machines of a Ray cluster: the same frames and so the same Outcome. r1lab must be installed there.

Each slot is an actor that holds one of `r1lab_sandbox.slots`. Ray schedules them; without a cluster it is this machine
alone.
"""

import logging
import os
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from r1lab_sandbox.forkserver.forkserver import SandboxError
from r1lab_sandbox.records import MAX_GRANTED_SHARE
from r1lab_sandbox.slots import GRACE_SECONDS, START_SECONDS, SandboxSlots

SLOT_CORES = 0.5
"""Of a slot: a conversation needs two, and only one of its sides runs at a time."""
CLUSTER_SECONDS = 60.0
"""For Ray to start an actor: its process imports Ray first."""


class SlotActor:
    """The Ray actor: holds one slot on its machine."""

    def __init__(self, packages: tuple[str, ...], backend: str):
        self._slots = SandboxSlots(packages)
        self._slot = self._slots.make(backend)

    def has_group(self) -> bool:
        return self._slot.has_group

    def ask(self, frame: bytes, seconds: float) -> bytes:
        return self._slot.ask(frame, seconds)

    def close(self) -> None:
        self._slot.close()
        self._slots.close()


class RemoteSlot:
    """As `r1lab_sandbox.slots.SandboxSlot`."""

    def __init__(self, ray: Any, packages: tuple[str, ...], backend: str):
        self._ray = ray
        self._host = ray.remote(num_cpus=SLOT_CORES, max_restarts=0)(SlotActor).remote(packages, backend)
        try:
            self.has_group = self._get(self._host.has_group.remote(), START_SECONDS + CLUSTER_SECONDS)
        except SandboxError:
            ray.kill(self._host)
            raise

    def ask(self, frame: bytes, seconds: float) -> bytes:
        whole = seconds * (1 + MAX_GRANTED_SHARE) + 2 * GRACE_SECONDS
        return self._get(self._host.ask.remote(frame, seconds), whole)

    def close(self) -> None:
        """In order where it still answers, so that nothing is left on its machine."""
        with suppress(SandboxError):
            self._get(self._host.close.remote(), GRACE_SECONDS)
        self._ray.kill(self._host)

    def _get(self, reference: Any, seconds: float) -> Any:
        try:
            return self._ray.get(reference, timeout=seconds)
        except self._ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None) or error
            raise SandboxError(f"ray: {' '.join(str(cause).split())[:400]}") from error


class RayCluster:
    """Makes slots on the cluster that RAY_ADDRESS names, or on a Ray of this machine alone."""

    def __init__(self, packages: Iterable[str]):
        try:
            import ray  # type: ignore[import-not-found]
            import ray.exceptions  # type: ignore[import-not-found]
        except ImportError as error:
            raise SandboxError("workers ray: Ray is not installed; pip install 'ray>=2.50'") from error
        self._ray, self._packages = ray, tuple(packages)
        self._is_ours = not ray.is_initialized()
        if self._is_ours:
            # What Ray would look for by itself may be the trace of one that is gone.
            address = os.environ.get("RAY_ADDRESS") or "local"
            ray.init(address=address, log_to_driver=False, include_dashboard=False, logging_level=logging.ERROR)
        # What others of the cluster have reserved is not to be had, and each process of a run has slots of its own.
        free, sharers = ray.available_resources().get("CPU", 1), int(os.environ.get("WORLD_SIZE", "1"))
        self.num_slots = max(1, int(free / sharers))

    def make(self, backend: str) -> RemoteSlot:
        return RemoteSlot(self._ray, self._packages, backend)

    def close(self) -> None:
        """Leave Ray where this object joined it, which ends its actors."""
        if self._is_ours:
            self._ray.shutdown()
