"""Files that name other files: playlists, manifests, sequences, subtitles, references; and who opens what."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

HLS = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:2\n"
DASH = (
    '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT2S" '
    'profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period><AdaptationSet mimeType="audio/mp4">'
    '<Representation id="1" bandwidth="1" codecs="mp4a.40.2">{body}</Representation></AdaptationSet></Period></MPD>'
)
SDP = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 {address}\nt=0 0\nm=audio {port} RTP/AVP 0\n"
IMF = '<?xml version="1.0"?>\n<CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016">{body}'

# {file} is another file's path, {name} its name alone, {web} an address where somebody listens.
TEXTS = {
    "hls": HLS + "#EXTINF:2,\n{file}\n#EXT-X-ENDLIST\n",
    "hls-relative": HLS + "#EXTINF:2,\n{name}\n#EXT-X-ENDLIST\n",
    "hls-file-url": HLS + "#EXTINF:2,\nfile://{file}\n#EXT-X-ENDLIST\n",
    "hls-web": HLS + "#EXTINF:2,\n{web}\n#EXT-X-ENDLIST\n",
    "hls-concat": HLS + "#EXTINF:2,\nconcat:{file}\n#EXT-X-ENDLIST\n",
    "hls-subfile": HLS + "#EXTINF:2,\nsubfile,,start,0,end,0,,:{file}\n#EXT-X-ENDLIST\n",
    "hls-crypto": HLS + '#EXT-X-KEY:METHOD=AES-128,URI="{file}"\n#EXTINF:2,\n{file}\n#EXT-X-ENDLIST\n',
    "hls-map": HLS + '#EXT-X-MAP:URI="{file}"\n#EXTINF:2,\n{file}\n#EXT-X-ENDLIST\n',
    "hls-range": HLS + "#EXT-X-BYTERANGE:100@0\n#EXTINF:2,\n{file}\n#EXT-X-ENDLIST\n",
    "hls-master": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{file}\n",
    "hls-media": '#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="a",DEFAULT=YES,URI="{file}"\n'
    '#EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO="a"\n{file}\n',
    "hls-live": HLS + "#EXT-X-MEDIA-SEQUENCE:1\n#EXTINF:2,\n{file}\n",
    "hls-windows-lines": (HLS + "#EXTINF:2,\n{file}\n#EXT-X-ENDLIST\n").replace("\n", "\r\n"),
    "hls-mark": "\ufeff" + HLS + "#EXTINF:2,\n{file}\n#EXT-X-ENDLIST\n",
    "hls-data-url": HLS + "#EXTINF:2,\ndata:audio/wav;base64,UklGRg==\n{file}\n#EXT-X-ENDLIST\n",
    "m3u": "#EXTM3U\n#EXTINF:2,x\n{file}\n",
    "m3u-bare": "{file}\n",
    "ffconcat": "ffconcat version 1.0\nfile '{file}'\n",
    "ffconcat-relative": "ffconcat version 1.0\nfile {name}\nduration 1\n",
    "ffconcat-options": "ffconcat version 1.0\nfile '{file}'\noption safe 0\nstream\nexact_stream_id 0x1\n",
    "ffconcat-web": "ffconcat version 1.0\nfile '{web}'\n",
    "ffconcat-lines-before": "\n\n# x\nffconcat version 1.0\nfile '{file}'\n",
    "concat-bare": "file '{file}'\n",
    "dash": DASH.replace("{body}", "<BaseURL>{file}</BaseURL>"),
    "dash-relative": DASH.replace("{body}", "<BaseURL>{name}</BaseURL>"),
    "dash-web": DASH.replace("{body}", "<BaseURL>{web}</BaseURL>"),
    "dash-list": DASH.replace("{body}", '<SegmentList duration="2"><SegmentURL media="{file}"/></SegmentList>'),
    "dash-template": DASH.replace("{body}", '<SegmentTemplate media="{file}" initialization="{file}" duration="2"/>'),
    "dash-entity": '<?xml version="1.0"?>\n<!DOCTYPE MPD [<!ENTITY x SYSTEM "file://{file}">]>\n<MPD>&x;</MPD>',
    "smooth-streaming": '<?xml version="1.0"?>\n<SmoothStreamingMedia>'
    '<StreamIndex Url="{file}"/></SmoothStreamingMedia>',
    "imf-playlist": IMF.replace("{body}", "<Id>urn:uuid:1</Id></CompositionPlaylist>"),
    "imf-assets": '<?xml version="1.0"?>\n<AssetMap><AssetList><Asset><ChunkList><Chunk><Path>{file}</Path></Chunk>'
    "</ChunkList></Asset></AssetList></AssetMap>",
    "sdp": SDP.replace("{address}", "127.0.0.1").replace("{port}", "5004"),
    "sdp-windows-lines": SDP.replace("{address}", "127.0.0.1").replace("{port}", "5004").replace("\n", "\r\n"),
    "sdp-multicast": SDP.replace("{address}", "239.0.0.1/1").replace("{port}", "5006"),
    "pls": "[playlist]\nNumberOfEntries=1\nFile1={file}\n",
    "asx": '<asx version="3.0"><entry><ref href="{file}"/></entry></asx>',
    "asf-reference": "[Reference]\nRef1={web}\nRef2={file}\n",
    "wpl": '<?wpl version="1.0"?>\n<smil><body><seq><media src="{file}"/></seq></body></smil>',
    "smil": '<smil><body><audio src="{file}"/></body></smil>',
    "xspf": '<?xml version="1.0"?>\n<playlist version="1"><trackList><track><location>file://{file}</location></track>'
    "</trackList></playlist>",
    "quicktime-link": '<?xml version="1.0"?>\n<?quicktime type="application/x-quicktime-media-link"?>\n'
    '<embed src="{file}"/>',
    "real-audio": "{web}\nfile://{file}\n",
    "cue-sheet": 'FILE "{file}" WAVE\n  TRACK 01 AUDIO\n    INDEX 01 00:00:00\n',
    "svg": '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="9" height="9">'
    '<image xlink:href="{file}" width="9" height="9"/></svg>',
    "vobsub": "# VobSub index file, v7\nsize: 64x48\nid: en, index: 0\ntimestamp: 00:00:00:000, filepos: 000000000\n",
    "sub-rip": '1\n00:00:00,000 --> 00:00:02,000\n<img src="{file}">\n',
    "web-vtt": "WEBVTT\n\nSTYLE\n::cue { background: url({file}) }\n\n00:00.000 --> 00:02.000\nx\n",
    "sub-station": "[Script Info]\nScriptType: v4.00+\nAudio File: {file}\nVideo File: {file}\n[Events]\n"
    "Format: Start, End, Text\nDialogue: 0:00:00.00,0:00:02.00,x\n",
    "sami": '<SAMI><BODY><SYNC Start=0><P><img src="{file}"></SYNC></BODY></SAMI>',
    "timed-text": '<?xml version="1.0"?>\n<tt xmlns="http://www.w3.org/ns/ttml"><body><p begin="0s">x</p></body></tt>',
    "lyrics": "[00:00.00]{file}\n[00:01.00]x\n",
    "ff-metadata": ";FFMETADATA1\ntitle={file}\n",
    "sequence": "%03d.wav\n",
}


def _box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I", 8 + len(body)) + kind + body


def reference_movie(path: str) -> bytes:
    """A QuickTime movie that only says where another one is."""
    where = path.encode() + b"\0"
    link = _box(b"rdrf", bytes(4), b"url ", struct.pack(">I", len(where)), where)
    return _box(b"ftyp", b"qt  ", bytes(8)) + _box(b"moov", _box(b"rmra", _box(b"rmda", link)))


def movie_with_samples_elsewhere(movie: bytes, path: str) -> bytes:
    """A movie whose tracks say, in an alias of the Macintosh, that their samples are in another file."""
    own_data = _box(b"url ", struct.pack(">I", 1))
    name, where = path.rsplit("/", 1)[1].encode(), path.encode()
    where += b"\0" * (len(where) % 2)
    alias = bytes(10) + bytes(28) + bytes(12) + bytes([len(name)]) + name.ljust(63, b"\0") + bytes(16)
    alias += (
        struct.pack(">HH", 1, 1) + bytes(16) + struct.pack(">hH", 2, len(where)) + where + struct.pack(">hH", -1, 0)
    )
    other = _box(b"alis", bytes(4), alias)
    content = bytearray(movie)
    while (at := content.find(own_data)) >= 0:
        content[at : at + len(own_data)] = other
        for kind in (b"dref", b"dinf", b"minf", b"mdia", b"trak", b"moov"):  # each is inside of the next
            box = content.rfind(kind, 0, at) - 4
            size = struct.unpack(">I", content[box : box + 4])[0] + len(other) - len(own_data)
            content[box : box + 4] = struct.pack(">I", size)
    return bytes(content)


@contextlib.contextmanager
def opened_in(folder: Path) -> Iterator[list[str]]:
    """Names of the files in a folder that anything opens meanwhile, in whatever language it is written (Linux)."""
    names: list[str] = []
    if sys.platform != "linux":
        yield names
        return
    system = ctypes.CDLL(None, use_errno=True)
    watch = system.inotify_init1(os.O_NONBLOCK)
    in_open = 0x20
    assert system.inotify_add_watch(watch, os.fsencode(folder), in_open) >= 0
    try:
        yield names
        with contextlib.suppress(BlockingIOError):
            while events := os.read(watch, 65_536):
                while events:
                    length = struct.unpack("iIII", events[:16])[3]
                    names.append(os.fsdecode(events[16 : 16 + length].rstrip(b"\0")))
                    events = events[16 + length :]
    finally:
        os.close(watch)
