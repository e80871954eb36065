"""Python files of the user's, dropped into a folder, that add to what is known by name.

The variable MUGATO_PLUGINS names the folder, or several as PATH does; every process that is started
inherits it. What a file may hold is the business of those who take it (`tasks/registry.py`,
`data/registry.py`). A broken file is told, and stops no other.
"""

import importlib
import logging
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

from mugato.system.errors import describe

VARIABLE = "MUGATO_PLUGINS"
CONTENTS = ("TASKS", "SOURCES")

Take = Callable[[ModuleType], None]


class Plugins:
    """The files that were imported, and who takes what is in them.

    A file is imported once, when somebody first asks; it may itself import those who take, so that
    each file is offered to all of them, whoever came first.

    Attributes:
        faults: what is wrong with a file or folder.
    """

    def __init__(self, folders: list[Path]) -> None:
        self.faults: dict[Path, str] = {}
        self._modules: dict[Path, ModuleType] = {}
        self._takers: list[Take] = []
        self._waiting = list(self._files(folders))

    def offer(self, take: Take) -> None:
        """Hand every file's module over, now or once it is imported; what `take` raises is told."""
        self._takers.append(take)
        for file, module in self._modules.items():
            self._hand_over(file, module, take)
        while self._waiting:
            file = self._waiting.pop(0)
            try:
                module = _imported(file)
            except (Exception, SystemExit) as error:  # whatever the user's own code raises
                self._fault(file, describe(error, expected=(ValueError,), with_place=True))
                continue
            self._modules[file] = module
            for taker in list(self._takers):
                self._hand_over(file, module, taker)

    def hint(self) -> str:
        """Return the end of an error about an unknown name: it may be of a file that is broken."""
        return "".join(f"; {file} could not be used: {why}" for file, why in self.faults.items())

    def _hand_over(self, file: Path, module: ModuleType, take: Take) -> None:
        try:
            take(module)
        except Exception as error:  # what is in it is the user's own
            self._fault(file, describe(error, expected=(ValueError,)))

    def _fault(self, path: Path, why: str) -> None:
        self.faults[path] = why
        if multiprocessing.parent_process() is None:  # workers would say it again
            logging.getLogger(__name__).error("%s: %s", path, why)

    def _files(self, folders: list[Path]) -> Iterator[Path]:
        for folder in folders:
            if not folder.is_dir():
                self._fault(folder, f"{VARIABLE} names it, but there is no such folder")
                continue
            if str(folder) not in sys.path:
                sys.path.append(str(folder))
            yield from sorted(f for f in folder.glob("*.py") if not f.name.startswith("_"))


@cache
def plugins() -> Plugins:
    """Return the plugins of this process, whose files are imported when first asked for."""
    named = os.environ.get(VARIABLE, "").split(os.pathsep)
    return Plugins([Path(folder).expanduser().resolve() for folder in named if folder])


def _imported(file: Path) -> ModuleType:
    """Import a file under its own name, by which other processes find what is pickled of it.

    Raises:
        ValueError: if another module is called so, or there is nothing in it for us.
    """
    module = importlib.import_module(file.stem)
    if Path(module.__file__ or "").resolve() != file:
        raise ValueError(f"another module is called {file.stem!r}; give the file another name")
    if not any(hasattr(module, name) for name in CONTENTS):
        raise ValueError(
            f"it has none of {' and '.join(CONTENTS)} (what only helps others begins with _)"
        )
    return module
