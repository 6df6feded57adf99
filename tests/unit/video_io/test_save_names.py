"""Names of the files: variables, prefixes that must not work, counters, several savers at once."""

from __future__ import annotations

import datetime
import errno
import os
import stat
import threading

import pytest
from evaluation.finished import decode
from infinitetalk.errors import UserError
from infinitetalk.video_io import durable
from infinitetalk.video_io.save import publish as publishing
from infinitetalk.video_io.save.file_name import make_target
from infinitetalk.video_io.save.prefix import (
    LONGEST_NAME_BYTES,
    check_prefix,
    check_template,
    expand_prefix,
    format_date,
)
from infinitetalk.video_io.save.publish import publish
from infinitetalk.video_io.save.workspace import remove_leftovers, workspace

from ...support import media

NOW = datetime.datetime(2026, 3, 9, 7, 5, 2)
PROMPT = {
    "1": {"class_type": "KSampler", "inputs": {"seed": 42, "steps": 20, "model": ["2", 0]}},
    "2": {"class_type": "Loader", "inputs": {"name": "a/b:c.safetensors"}, "_meta": {"title": "My Model"}},
}


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("yyyy-MM-dd", "2026-03-09"),
        ("yy.M.d", "26.3.9"),
        ("hh-mm-ss", "07-05-02"),
        ("h m s", "7 5 2"),
        ("yyyyMMdd_hhmmss", "20260309_070502"),
    ],
)
def test_dates_are_written_as_the_graph_editor_writes_them(pattern, text):
    assert format_date(pattern, NOW) == text


@pytest.mark.parametrize(
    ("prefix", "text"),
    [
        ("a/%date:yyyy-MM-dd%/talk", "a/2026-03-09/talk"),
        ("%year%%month%%day% %hour%.%minute%.%second%", "20260309 07.05.02"),
        ("%width%x%height%", "832x480"),
        ("%KSampler.seed%_%My Model.name%", "42_a_b_c.safetensors"),
        ("%KSampler.model%", "%KSampler.model%"),
        ("%Nobody.seed%", "%Nobody.seed%"),
        ("100%", "100%"),
        ("%", "%"),
        ("%s %d %05d", "%s %d %05d"),
    ],
)
def test_variables_in_a_prefix_are_filled_in(prefix, text):
    assert expand_prefix(prefix, 832, 480, NOW, PROMPT) == text


def test_a_prefix_with_variables_passes_before_they_are_known_and_a_bad_one_does_not():
    check_template("%date:yyyy-MM-dd%/%KSampler?.seed%/talk")
    with pytest.raises(UserError, match="leads out"):
        check_template("../%date:yyyy%")


def test_a_value_cannot_bring_a_path_with_it():
    prompt = {"1": {"class_type": "N", "inputs": {"v": "../../etc/x\n\\y"}}}
    assert expand_prefix("%N.v%", 1, 1, NOW, prompt) == ".._.._etc_x__y"


@pytest.mark.parametrize(
    "prefix",
    [
        "../x",
        "../../x",
        "a/../../x",
        "a/../x",
        "..",
        "/etc/x",
        "\\\\server\\share\\x",
        "..\\x",
        "C:\\x",
        "c:/x",
        "",
        "  /  /",
        "/ ",
        ".",
        "/",
        "a\nb",
        "a\0b",
        "x" * 300,
        "\U0001f3ac" * 100,
    ],
)
def test_a_prefix_that_leaves_the_output_folder_or_is_no_name_is_refused(tmp_path, prefix):
    with pytest.raises(UserError, match="filename_prefix"):
        make_target(prefix, tmp_path, ".mp4")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("prefix", ["x" * 243, "ü" * 121])
def test_the_longest_names_that_fit_are_taken(save, prefix):
    name = save(media.make_pictures(1, 16, 16), prefix=prefix).path.name
    assert len(os.fsencode(name)) <= LONGEST_NAME_BYTES


@pytest.mark.parametrize(
    ("prefix", "subfolder", "name"),
    [
        ("talk", "", "talk_00001_.mp4"),
        ("a/b/talk", "a/b", "talk_00001_.mp4"),
        ("a\\b", "a", "b_00001_.mp4"),
        ("videos/", "", "videos_00001_.mp4"),
        ("./talk", "", "talk_00001_.mp4"),
        ("-i", "", "-i_00001_.mp4"),
        ("-vf/-y", "-vf", "-y_00001_.mp4"),
        ("%", "", "%_00001_.mp4"),
        ("%05d", "", "%05d_00001_.mp4"),
        ("\U0001f3ac \u4f60\u597d é'\"$(x)`;&", "", "\U0001f3ac \u4f60\u597d é'\"$(x)`;&_00001_.mp4"),
        ("http:", "", "http:_00001_.mp4"),
        ("concat:a|b", "", "concat:a|b_00001_.mp4"),
        ("a..b", "", "a..b_00001_.mp4"),
    ],
)
def test_odd_prefixes_become_files_of_exactly_that_name(save, output, prefix, subfolder, name):
    if os.name == "nt" and set(name) & set('<>:"|?*'):
        with pytest.raises(UserError, match="Windows"):
            check_prefix(prefix)
        return
    saved = save(media.make_pictures(2, 16, 16), media.make_sound(0.08), prefix=prefix, tags={"workflow": {}})
    assert saved.path == output / subfolder / name
    assert saved.sound is not None
    assert len(decode(saved.path).frames) == 2


def test_the_counter_goes_on_after_the_highest_whatever_the_suffix(tmp_path):
    for name in ("talk_00007_.png", "talk_00003_.mp4", "talk_b_00099_.mp4", "other_00050_.mp4", "talk_x.mp4"):
        (tmp_path / name).touch()
    assert make_target("talk", tmp_path, ".mp4").next_counter() == 8


def test_a_file_that_appears_meanwhile_is_never_replaced(tmp_path, monkeypatch):
    target = make_target("talk", tmp_path, ".mp4")
    monkeypatch.setattr(type(target), "next_counter", lambda self: 1)
    target.path(1).write_text("another server's")
    (tmp_path / "new").write_text("ours")
    assert publish(tmp_path / "new", target) == target.path(2)
    assert target.path(1).read_text() == "another server's"
    assert target.path(2).read_text() == "ours"


def test_a_folder_without_hard_links_works_the_same(tmp_path, monkeypatch):
    """`os.link` fails as on exFAT, which cannot be had in a test."""

    def no_links(source, destination):
        raise OSError("links are not supported here")

    monkeypatch.setattr(os, "link", no_links)
    test_a_file_that_appears_meanwhile_is_never_replaced(tmp_path, monkeypatch)


def test_many_savers_at_once_get_a_name_each(tmp_path):
    target = make_target("talk", tmp_path, ".mp4")
    start = threading.Barrier(16)
    got = []

    def one(number: int) -> None:
        with workspace(tmp_path) as folder:
            file = folder / "video.mp4"
            file.write_text(str(number))
            start.wait()
            got.append((publish(file, target), number))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path for path, _ in got) == [target.path(counter) for counter in range(1, 17)]
    assert all(path.read_text() == str(number) for path, number in got)


@pytest.mark.skipif(os.name == "nt", reason="Windows has lists of rights, which are inherited")
def test_a_file_in_the_making_has_the_rights_that_the_output_folder_gives(tmp_path):
    (tmp_path / "any").mkdir()
    with workspace(tmp_path) as folder:
        assert folder.stat().st_mode == (tmp_path / "any").stat().st_mode


@pytest.mark.parametrize("what", ["flush_file", "_move_without_replacing"])
def test_a_finished_file_that_a_virus_scanner_has_open_for_a_moment_gets_its_name(tmp_path, monkeypatch, what):
    # Only Windows lets another program hold a file that is to be renamed: this is what it answers then.
    monkeypatch.setattr(durable, "OTHERS_BLOCK_FILES", True)
    monkeypatch.setattr(durable.time, "sleep", lambda seconds: None)
    answers = [PermissionError(errno.EACCES, "it is used by another process")] * 2
    real = getattr(publishing, what)

    def scanned(*arguments):
        if answers:
            raise answers.pop()
        return real(*arguments)

    monkeypatch.setattr(publishing, what, scanned)
    (tmp_path / "finished").write_bytes(b"video")
    assert publish(tmp_path / "finished", make_target("talk", tmp_path, ".mp4")).read_bytes() == b"video"
    assert answers == []


def test_only_old_workspaces_are_removed(tmp_path):
    with workspace(tmp_path) as mine:
        (mine / "video.mp4").touch()
        remove_leftovers(tmp_path)
        assert mine.is_dir()
        remove_leftovers(tmp_path, age_seconds=-1)
        assert not mine.is_dir()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("prefix", "words"),
    [
        ("x/" * 1500 + "y", "1500 folders"),
        ("x\\" * 100 + "y", "100 folders"),
        (".infinitetalk-save-abc/y", "is cleared"),
        ("a/.InfiniteTalk-Save-/y", "is cleared"),
        (".infinitetalk-save-y", "is cleared"),
        ("a/\ud800", "half of a character"),
    ],
)
def test_a_prefix_that_would_do_harm_gets_a_sentence(prefix, words):
    for check in (check_prefix, check_template):
        with pytest.raises(UserError, match=words) as caught:
            check(prefix)
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize("meta", [None, "text", 1, [], {"title": ["x"]}, {"title": "KSampler"}])
@pytest.mark.parametrize("inputs", [None, "text", 1, [], {"seed": {}}])
def test_nodes_that_are_none_as_an_editor_sends_them_do_not_matter(meta, inputs):
    prompt = {"1": {"class_type": "KSampler", "_meta": meta, "inputs": inputs}, "2": "no node", "3": PROMPT["1"]}
    assert expand_prefix("%KSampler.seed%", 1, 1, NOW, prompt) == "42"


def test_a_file_is_on_the_disk_before_it_has_its_name_and_its_name_before_anybody_hears(tmp_path, monkeypatch):
    seen = []
    for module, name in ((os, "fsync"), (os, "link")):
        real = getattr(module, name)

        def noted(*arguments, _real=real, _name=name):
            folder = _name == "fsync" and stat.S_ISDIR(os.fstat(arguments[0]).st_mode)
            seen.append("folder" if folder else _name)
            return _real(*arguments)

        monkeypatch.setattr(module, name, noted)
    target = make_target("a/b/video", tmp_path / "output", ".mp4")
    assert seen == ["folder"] * 3
    seen.clear()
    finished = tmp_path / "output" / "finished"
    finished.write_bytes(b"x")
    publish(finished, target)
    assert seen == (["fsync", "link", "folder"] if os.name != "nt" else ["fsync"])


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.EACCES])
def test_a_network_disk_without_flushing_takes_files(save, monkeypatch, code):
    def refuse(descriptor):
        raise OSError(code, "no such call here")

    monkeypatch.setattr(os, "fsync", refuse)
    assert save(media.make_pictures(2, 16, 16)).path.is_file()


def test_a_disk_that_loses_the_file_while_flushing_is_named(save, output, monkeypatch):
    def fail(descriptor):
        raise OSError(errno.EIO, "Input/output error")

    output.mkdir()
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(UserError, match="cannot be written to"):
        save(media.make_pictures(2, 16, 16))
    assert list(output.iterdir()) == []
