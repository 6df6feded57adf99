"""What the browser tests read from graphs and from the server's history."""

from __future__ import annotations

from typing import Any

from comfy_client import ComfyClient
from graph_editor.editor import Graph


def meaning(graph: Graph) -> dict[str, Any]:
    """What must survive saving and opening: nodes with their settings, and links; not their order or colors."""
    nodes = {
        # The player of a sound is empty text when it is new and nothing when it was loaded.
        str(node["id"]): (node["type"], node.get("title"), node["mode"], node["pos"],
                          [None if value == "" else value for value in node["widgets_values"]])
        for node in graph["nodes"]
    }  # fmt: skip
    links = {(str(source), output, str(target), slot, kind) for _, source, output, target, slot, kind in graph["links"]}
    return {"nodes": nodes, "links": links}


def saved_file(client: ComfyClient) -> dict[str, str]:
    """The file that the save node of the last job has written, as history names it."""
    entry = list(client.get("/history").values())[-1]
    (file,) = [files["gifs"][0] for files in entry["outputs"].values() if "gifs" in files]
    return {key: file[key] for key in ("filename", "subfolder", "type")}
