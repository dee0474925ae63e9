"""Random numbers of one net, kept apart from those of the process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# PyTorch draws initial weights and dropout from one generator for the whole process.
# Only one thread at a time may take it over.
_LOCK = threading.RLock()


class RandomStream:
    """A stream of random numbers that continues from one block to the next.

    Inside a block of `drawing`, torch's global generators have the state of this
    stream, and new weights are float32 whatever torch's default dtype is; afterwards,
    all is as it was. Streams in several threads wait for each other, so each draws what
    it would draw alone.

    Parameters
    ----------
    seed : int
        Seed of the stream.
    device : str
        Device of the net. Networks on a GPU draw from its generator, too.
    """

    def __init__(self, seed: int, device: str):
        where = torch.device(device)
        self._devices = [torch.device("cpu")]
        if where.type == "cuda":
            self._devices.append(where)
        self._states = [
            torch.Generator(one).manual_seed(seed).get_state() for one in self._devices
        ]

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Let torch draw from this stream inside the block."""
        with _LOCK:
            found, dtype = self._read(), torch.get_default_dtype()
            try:
                self._write(self._states)
                torch.set_default_dtype(torch.float32)
                yield
            finally:
                self._states = self._read()
                self._write(found)
                torch.set_default_dtype(dtype)

    def states(self) -> list[torch.Tensor]:
        """Return the state of the stream, on the CPU and on a GPU."""
        return self._states

    def go_to(self, states: list[torch.Tensor]) -> None:
        """Continue from the state of another stream.

        If that one had no GPU, the part for a GPU here stays at its beginning.
        """
        self._states[: len(states)] = states[: len(self._states)]

    def _read(self):
        _, *gpu = self._devices
        return [torch.get_rng_state(), *map(torch.cuda.get_rng_state, gpu)]

    def _write(self, states):
        cpu, *gpu = zip(self._devices, states, strict=True)
        torch.set_rng_state(cpu[1])
        for device, state in gpu:
            torch.cuda.set_rng_state(state, device)
