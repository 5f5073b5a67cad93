"""The data of a fit as epochs of batches, on the device of the model."""

from collections import abc
from collections.abc import Iterator
from itertools import repeat
from typing import Any

import torch
from numpy.random import SeedSequence
from torch import Generator, Tensor
from torch.utils.data import DataLoader, TensorDataset

from probact.inference.batches import as_args, batches, num_rows, to_device
from probact.inference.checkpoints.fingerprints import data_fingerprint
from probact.inference.training.random_states import loader_generators, restarted

__all__ = ["Source"]

Batch = tuple[Any, ...]
RESIDENT = 2**31  # bytes of data that are moved to the device as a whole


class Source:
    """Training and validation data; batch_size as in `fit`, at_once the rows of a validation.

    shuffler orders the rows of every epoch; it and the generators of a DataLoader are what a
    checkpoint must remember of the data.

    >>> source = Source(torch.zeros(5), torch.zeros(3), 2, None, torch.device("cpu"), 0)
    >>> [len(x) for (x,) in source.epoch()], [len(x) for (x,) in source.validation_epoch()]
    ([2, 2, 1], [2, 1])
    """

    def __init__(
        self,
        data: Any,
        validation: Any,
        batch_size: int | None,
        at_once: int | None,
        device: torch.device,
        seed: int,
    ) -> None:
        self.data, self.validation = (_moved(d, device, batch_size) for d in (data, validation))
        self._batch_size, self._at_once = batch_size, batch_size or at_once
        self._device, self.seed = device, seed
        self.shuffler = Generator().manual_seed(int(SeedSequence(seed).generate_state(4)[3]))

    @property
    def whole(self) -> bool:
        """Whether a batch is all of the data."""
        return self._batch_size is None and not isinstance(self.data, DataLoader)

    @property
    def generators(self) -> list[Generator]:
        """All random streams of the order of the rows."""
        return [self.shuffler, *loader_generators(self.data)]

    def epoch(self) -> Iterator[Batch]:
        """Batches of one epoch."""
        return batches(self.data, self._batch_size, self.shuffler, self._device)

    def validation_epoch(self) -> abc.Generator[Batch, None, None]:
        """The validation data, the same every time."""
        rows, size = num_rows(self.validation), self._at_once
        if isinstance(self.validation, DataLoader):
            try:
                with restarted(loader_generators(self.validation), self.seed):
                    yield from batches(self.validation, None, self.shuffler, self._device)
            except ValueError as error:
                raise ValueError(f"validation: {error}") from error
        elif size is None or not rows:
            yield to_device(self.validation, self._device)
        else:
            # evenly where the size is ours: some losses refuse a last batch of one row
            cuts = list(range(size, rows, size)) if self._batch_size else -(-rows // size)
            args = (
                a.tensor_split(cuts) if isinstance(a, Tensor) else repeat(a)
                for a in self.validation
            )
            for part in zip(*args, strict=False):
                yield to_device(part, self._device)

    def describe(self) -> dict[str, Any]:
        """What a checkpoint remembers of the data."""
        return {"data": _described(self.data), "validation": _described(self.validation)}

    @property
    def settings(self) -> dict[str, Any]:
        """What a checkpoint remembers beside them."""
        device = str(self._device)
        return {"batch_size": self._batch_size, "device": device, "seed": self.seed}


def _moved(data: Any, device: torch.device, batch_size: int | None) -> Any:
    """The checked arguments, moved once where they are used whole or are small enough."""
    if data is None or isinstance(data, DataLoader):
        return data
    args = as_args(data)
    size = sum(arg.nbytes for arg in args if isinstance(arg, Tensor))
    return to_device(args, device) if batch_size is None or size <= RESIDENT else args


def _described(data: Any) -> Any:
    """The bytes of tensors, the make of a DataLoader."""
    if data is None:
        return None
    if not isinstance(data, DataLoader):
        return data_fingerprint(data)
    dataset, parts = data.dataset, (data, data.sampler, data.dataset)
    return {
        "loader": [type(part).__qualname__ for part in parts],
        "rows": num_rows(data),
        "batch_size": data.batch_size,
        "drop_last": data.drop_last,
        "tensors": data_fingerprint(dataset.tensors) if type(dataset) is TensorDataset else None,
    }
