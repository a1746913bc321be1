"""Stage 5, tune."""

from __future__ import annotations

import json
import os
from typing import Any, Optional

from ._config import Config
from ._dataset import Dataset
from ._dialogues import Dialogues
from ._embeddings import Embeddings
from ._handle import Handle, Path, check, number, path, raw, text
from ._native import lib
from ._run import RUN, Run, long


class Model(Handle):
    """Stage 5, tune: a ranking head; `Model.lm` for a language model."""

    _free = lib.model_free
    __slots__ = ()

    def __init__(
        self, dialogues: Dialogues, dataset: Dataset, embeddings: Embeddings, config: Optional[Config] = None,
        run: Optional[Run] = None,
    ) -> None:
        life = self._begin()
        long(run, lib.tune, dialogues.raw, dataset.raw, embeddings.raw, raw(config), RUN, life.out)
        super().__init__(life)

    @classmethod
    def lm(
        cls, dialogues: Dialogues, base: Path, folder: Path, config: Config, dataset: Optional[Dataset] = None,
        run: Optional[Run] = None,
    ) -> "Model":
        """LoRA or all weights of the GGUF `base`, into `folder`; with a dataset a ranking head may be trained along."""
        life = cls._begin()
        of = (dialogues.raw, raw(dataset), path(base), path(folder), config.raw)
        long(run, lib.tune_lm, *of, RUN, life.out)
        return cls._of(life)

    @classmethod
    def new(
        cls, dataset: Dataset, parameters: int, file: Path, config: Optional[Config] = None,
        folder: Optional[Path] = None, run: Optional[Run] = None,
    ) -> "Model":
        """A language model from nothing, of about so many parameters; with a `folder` then trained on the reviews."""
        life = cls._begin()
        of = (dataset.raw, number("parameters", parameters, 63), raw(config), path(file), path(folder))
        long(run, lib.model_new, *of, RUN, life.out)
        return cls._of(life)

    @classmethod
    def merge(cls, base: Path, adapter: Path, file: Path, kind: str = "q8_0", run: Optional[Run] = None) -> "Model":
        """A LoRA adapter (a GGUF, or a PEFT folder) in its base: one GGUF of `kind` ("f32", "q8_0", …)."""
        life = cls._begin()
        long(run, lib.model_merge, path(base), path(adapter), text(kind, "kind"), path(file), RUN, life.out)
        return cls._of(life)

    @classmethod
    def load(cls, file: Path) -> "Model":
        """A ranking head that `save` wrote."""
        life = cls._begin()
        check(lib.model_load(path(file), life.out))
        return cls._of(life)

    def save(self, file: Path) -> None:
        """Writes a ranking head; the files of a language model are in their folder already."""
        check(lib.model_save(self.raw, path(file)))

    @property
    def report(self) -> dict[str, Any]:
        life = self.raw
        report: dict[str, Any] = json.loads(lib.model_report(life))
        return report

    @property
    def file(self) -> Optional[str]:
        """adapter.gguf or model.gguf of a language model; None of a head."""
        life = self.raw
        found = lib.model_file(life)
        return None if found is None else os.fsdecode(found)
