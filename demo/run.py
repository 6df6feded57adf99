"""The main job in one command: a picture and speech in, a talking video with that sound out.

`python demo/run.py` needs nothing but Python and pip. It makes an environment beside the project, gets ComfyUI, starts
a server with the shipped cartoon models (the real architecture in miniature, trained on drawn faces), queues the
shipped workflow and says what is in the file that comes out.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import time
from pathlib import Path

import environment
from comfy_server import ENDING_SIGNALS, ComfyServer
from environment import CACHE, ROOT, SetupError, say

DEMO_BASE = CACHE / "demo"
DEFAULT_OUTPUT = ROOT / "demo" / "output" / "talking_picture.mp4"


def main() -> int:
    """Run the demo; returns the exit code."""
    for stream in (sys.stdout, sys.stderr):  # a console that lacks a letter of a path shall not end the job
        stream.reconfigure(errors="backslashreplace")
    options = _parse_arguments()
    _end_cleanly_on_signals()
    try:
        _check(options)
        prepared = _prepare(options)
        environment.rerun_inside(prepared)
        facts = _make_video(options, prepared)
    except KeyboardInterrupt:
        say("\nStopped.")
        return 130
    except (SetupError, DemoError) as error:
        say(str(error))
        return 1
    print(f"\n{facts.path}\n{facts.as_text()}")
    if options.json:
        print(json.dumps(facts.as_json()))
    return 0


class DemoError(RuntimeError):
    """The job cannot be done or failed; the message is a sentence for the user."""


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Make a drawn face talk, on this machine, with tiny models.")
    parser.add_argument("--image", type=Path, help="picture of a drawn face (default: the shipped one)")
    parser.add_argument("--audio", type=Path, help="speech, any sound file (default: the shipped voice)")
    parser.add_argument("--output", type=Path, help=f"MP4 file or folder (default: {DEFAULT_OUTPUT.relative_to(ROOT)})")
    parser.add_argument("--server", metavar="URL", help="use a running ComfyUI, such as http://127.0.0.1:8188")
    parser.add_argument("--json", action="store_true", help="the last line is the file's facts as one JSON object")
    return parser.parse_args()


def _end_cleanly_on_signals() -> None:
    """Being ended, or losing the terminal, is like Ctrl-C: through `finally`, so that the server goes too.

    Ctrl-C itself is set because scripts start background jobs with it ignored; `nohup` is left its way.
    """
    for name in ENDING_SIGNALS:
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is None or (name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN):
            continue
        signal.signal(number, signal.default_int_handler)


def _check(options: argparse.Namespace) -> None:
    """Refuse what cannot work before anything is installed."""
    for name, file in (("--image", options.image), ("--audio", options.audio)):
        if file is not None and not file.is_file():
            raise DemoError(f"{name} is {file}, which is not a file: give the path of one.")
    target = _target(options.output)
    if target.suffix.lower() != ".mp4":
        raise DemoError(f"--output is {target}, and an MP4 is made: let its name end with .mp4, or give a folder.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DemoError(f"The folder {target.parent} cannot be made ({error}): give another --output.") from error
    if options.server and not options.server.startswith(("http://", "https://")):
        raise DemoError(f"--server is {options.server}: give the whole address, such as http://127.0.0.1:8188.")


def _prepare(options: argparse.Namespace) -> environment.Environment:
    requirements = ROOT / "demo" / "requirements.txt"
    return environment.prepare_client(requirements) if options.server else environment.prepare(requirements)


def _make_video(options: argparse.Namespace, prepared: environment.Environment):  # noqa: ANN202
    """Run the job on the chosen server; returns the facts of the file (imports need the environment)."""
    from comfy_client import ComfyError
    from media_facts import measure

    target = _target(options.output)
    try:
        if options.server:
            _run_on(options.server, options, target)
        else:
            _run_on_own_server(options, prepared, target)
        return measure(target)
    except ComfyError as error:
        raise DemoError(str(error)) from error
    except OSError as error:
        raise DemoError(f"A file cannot be read or written ({error}): mend that, and run it again.") from error


def _run_on_own_server(options: argparse.Namespace, prepared: environment.Environment, target: Path) -> None:
    import cartoon_models

    cartoon_models.copy_models(DEMO_BASE / "models")
    say(f"Starting ComfyUI {environment.core_version(prepared.core)} ...")
    with ComfyServer(prepared, DEMO_BASE) as server:
        _run_on(server.url, options, target)
    # A job that was stopped is picked up by the next run; a finished one shall not be handed out again.
    shutil.rmtree(DEMO_BASE / "user" / "infinitetalk", ignore_errors=True)


def _run_on(url: str, options: argparse.Namespace, target: Path) -> None:
    """Upload, queue, follow, fetch."""
    from comfy_client import ComfyClient, JobResult
    from talking_picture import PICTURE, SPEECH, find_node, knows_drawn_faces_only, prompt_for, with_media

    client = ComfyClient(url)
    prompt = prompt_for(client)
    if options.image and knows_drawn_faces_only(prompt):
        say(
            f"The small models know drawn faces only, such as {PICTURE.relative_to(ROOT)}; a photo needs the real ones."
        )
    prompt = with_media(prompt, client.upload(options.image or PICTURE), client.upload(options.audio or SPEECH))
    shown = ProgressLine(find_node(prompt, "InfiniteTalkSampler"))
    with client.connect() as connection:
        result = JobResult(client.submit(prompt))
        try:
            for event in connection.events_of(result.prompt_id):
                result.events.append(event)
                shown.update(event)
        except BaseException:
            client.stop(result.prompt_id)
            raise
        finally:
            shown.end()
    client.finish(result)
    if result.error:
        raise DemoError(f"{result.error['node_type']}: {result.error_message}")
    if result.interrupted:
        raise DemoError("The job was interrupted on the server: run it again.")
    client.view(result.outputs[find_node(prompt, "SaveVideoWithAudio")]["gifs"][0], target)


class ProgressLine:
    """One line in the terminal: window, step and time left of the sampling."""

    def __init__(self, sampler: str) -> None:
        self._sampler = sampler
        self._width = 0
        self._last_shown = 0.0

    def update(self, event) -> None:  # noqa: ANN001
        """Show what a websocket event says about the sampling."""
        data = event.data
        if data.get("node") != self._sampler:
            return
        if event.kind == "progress_text":
            self._show(data["text"])
        elif event.kind == "executing":
            self._show("Sampling ...")

    def end(self) -> None:
        """Leave the line."""
        if self._width:
            say("")

    def _show(self, text: str) -> None:
        if sys.stderr.isatty():
            sys.stderr.write("\r" + text.ljust(self._width))
            sys.stderr.flush()
            self._width = len(text)
        elif time.monotonic() - self._last_shown > 1:  # a log file needs no line per step
            self._last_shown = time.monotonic()
            say(text)


def _target(output: Path | None) -> Path:
    """Where the video goes: the file that was asked for, or a free name in the folder (a name without a suffix)."""
    if output is not None and output.suffix and not output.is_dir():
        return output
    wanted = DEFAULT_OUTPUT if output is None else output / DEFAULT_OUTPUT.name
    candidates = [wanted, *(wanted.with_stem(f"{wanted.stem}_{number}") for number in range(2, 10_000))]
    return next(file for file in candidates if not file.exists())


if __name__ == "__main__":
    sys.exit(main())
