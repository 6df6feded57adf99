"""What runs on GitHub and before a commit is what `.ci/run` runs here, and asks for what a report needs."""

from __future__ import annotations

import os
import re
import runpy
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from environment import ROOT

from ..support.conditions import wait_until
from ..support.registry import tracked_files

WORKFLOWS = ROOT / ".github" / "workflows"
FORMS = ROOT / ".github" / "ISSUE_TEMPLATE"
YAML_FILES = [*WORKFLOWS.glob("*.yml"), *FORMS.glob("*.yml"), ROOT / ".pre-commit-config.yaml"]


def load(file: Path) -> dict[Any, Any]:
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def steps() -> list[dict[str, Any]]:
    """All steps of all workflows."""
    jobs = [job for file in WORKFLOWS.glob("*.yml") for job in load(file)["jobs"].values()]
    return [step for job in jobs for step in job.get("steps", [])]


def hooks() -> list[dict[str, Any]]:
    return [hook for repo in load(ROOT / ".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]


@pytest.mark.parametrize("file", YAML_FILES, ids=lambda file: file.name)
def test_a_file_parses_and_has_no_tab(file: Path):
    assert load(file)
    assert "\t" not in file.read_text(encoding="utf-8")


def test_every_file_that_a_step_names_is_in_the_repository():
    tracked = set(tracked_files())
    folders = {parent.as_posix() for file in tracked for parent in Path(file).parents}
    commands = " ".join(step.get("run", "") for step in steps())
    named = [word for word in commands.split() if re.fullmatch(r"\.?\w[\w./-]*", word) and ("/" in word or "." in word)]
    assert {".ci/run", "tests/run.py", "tests/unit", "pyproject.toml"} <= set(named)
    assert [word for word in named if word not in tracked | folders] == []


def test_every_workflow_that_a_job_uses_is_in_the_repository():
    used = [job["uses"] for file in WORKFLOWS.glob("*.yml") for job in load(file)["jobs"].values() if "uses" in job]
    assert used
    for path in used:
        assert "workflow_call" in load(ROOT / path)[True]  # YAML 1.1 reads the key `on` as a truth value


def test_the_script_that_github_runs_may_be_run():
    listed = subprocess.run(["git", "ls-files", "-s", ".ci/run"], cwd=ROOT, capture_output=True, check=True, text=True)
    assert listed.stdout.startswith("100755 ")


@pytest.mark.skipif(os.name == "nt", reason="sends a POSIX signal")
def test_after_ctrl_c_the_tests_have_the_time_to_end_their_servers(tmp_path: Path):
    begun, ended = tmp_path / "begun", tmp_path / "ended"
    tests = f"""
import pathlib, time
try:
    pathlib.Path({str(begun)!r}).touch()
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(0.5)  # longer than subprocess.run would wait
    pathlib.Path({str(ended)!r}).touch()
"""
    runner = ROOT / "tests" / "run.py"
    code = f"""
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # who is started in the background ignores it
runpy.run_path({str(runner)!r})["run_to_its_end"]({[sys.executable, "-c", tests]!r})
"""
    running = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    wait_until(begun.exists, 30)
    os.killpg(running.pid, signal.SIGINT)
    assert running.wait(30) == 0
    assert ended.exists()


@pytest.mark.skipif(os.name == "nt", reason="the stand-in is a shell script")
@pytest.mark.parametrize("knows", [True, False])
def test_pytest_is_started_as_the_python_of_the_environment_can(tmp_path: Path, knows: bool):
    python = tmp_path / "python"  # stands in for 3.10, which does not know -P
    python.write_text(f"#!/bin/sh\nexit {0 if knows else 2}\n")
    python.chmod(0o755)
    command = runpy.run_path(str(ROOT / "tests" / "run.py"))["pytest_command"](python)
    assert command == ([str(python), "-P", "-m", "pytest"] if knows else [str(tmp_path / "pytest")])


def test_every_supported_python_is_tested(project: dict[str, Any]):
    tested = load(WORKFLOWS / "ci.yml")["jobs"]["unit"]["strategy"]["matrix"]["python"]
    assert all(isinstance(version, str) for version in tested), "3.10 without quotes is 3.1"
    assert project["project"]["requires-python"] == f">={tested[0]}"
    assert project["tool"]["mypy"]["python_version"] == tested[0]


def test_only_a_tag_of_this_repository_with_passing_tests_is_published(project: dict[str, Any]):
    workflow = load(WORKFLOWS / "publish.yml")
    publish = workflow["jobs"]["publish"]
    assert workflow[True] == {"push": {"tags": ["v*"]}}
    assert publish["needs"] == "tests"
    assert project["project"]["urls"]["Repository"].removeprefix("https://github.com/") in publish["if"]


@pytest.mark.skipif(not Path("/usr/bin/grep").exists() and not Path("/bin/grep").exists(), reason="needs a POSIX shell")
@pytest.mark.parametrize(("tag", "fits"), [("v{}", True), ("v{}.1", False), ("v9{}", False), ("v", False)])
def test_a_tag_is_compared_with_the_version(project: dict[str, Any], tag: str, fits: bool):
    (command,) = [step["run"] for step in steps() if "GITHUB_REF_NAME" in step.get("run", "")]
    environment = {"GITHUB_REF_NAME": tag.format(project["project"]["version"])}
    done = subprocess.run(["bash", "-c", f"PATH=/usr/bin:/bin; {command}"], cwd=ROOT, env=environment, check=False)
    assert (done.returncode == 0) == fits


@pytest.mark.parametrize("form", ["bug_report.yml", "feature_request.yml"])
def test_a_form_is_one_that_github_takes(form: str):
    fields = load(FORMS / form)
    assert {"name", "description", "body"} <= fields.keys()
    ids = [field["id"] for field in fields["body"]]
    assert len(set(ids)) == len(ids)
    for field in fields["body"]:
        assert field["type"] in ("input", "textarea", "dropdown", "checkboxes", "markdown")
        assert field["attributes"]["label"]


def test_a_bug_report_asks_for_what_is_needed_to_find_the_bug():
    fields = {field["id"]: field for field in load(FORMS / "bug_report.yml")["body"]}
    for name in ("log", "core", "gpu", "workflow"):
        assert fields[name]["validations"]["required"]


def test_the_hooks_before_a_commit_are_steps_of_the_ci_with_the_same_ruff():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    wanted = [
        line for line in (ROOT / "tests" / "requirements.txt").read_text().splitlines() if line.startswith("ruff")
    ]
    assert hooks()
    for hook in hooks():
        program, command, *_ = hook["entry"].split()
        assert f'"${program}" {command}' in script
        assert hook["additional_dependencies"] == wanted
