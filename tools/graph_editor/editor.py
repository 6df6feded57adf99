"""ComfyUI's graph editor in a real Chromium, driven as a user drives it."""

from __future__ import annotations

import json
import shutil
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Error, Page, Playwright, Route

MISSING_MODELS = "Comfy.Workflow.ShowMissingModelsWarning"
NODES_2 = "Comfy.VueNodes.Enabled"
SETTINGS = {"Comfy.TutorialCompleted": True, MISSING_MODELS: False}
SYSTEM_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PLAYWRIGHT_CHANNELS = ("chrome", "msedge")  # playwright knows where they lie on Windows and macOS
ARGUMENTS = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
RUN_TIMEOUT_SECONDS = 120
EMPTY_SPOT = (800, 800)
"""Pixels of the page, on the canvas and away from buttons and panels."""

READY = "!!(window.app?.extensionManager && LiteGraph.registered_node_types['InfiniteTalkSampler'])"

# Everything that the tests ask of the page. Ids are compared as text: newer editors number nodes with strings.
HELPERS = """() => {
    const jobs = { end: null, texts: {}, previews: [] };
    const linked = [];
    const nodeOfType = (type) => app.graph.nodes.find((node) => node.type === type);
    for (const kind of ["execution_success", "execution_error", "execution_interrupted"])
        app.api.addEventListener(kind, (event) => (jobs.end = { kind, ...event.detail }));
    // Behind the editor's own listener: by now the text is on the node.
    app.api.addEventListener("progress_text", () => {
        for (const node of app.graph.nodes)
            for (const widget of (node.widgets ?? []).filter((widget) => widget.type === "progressText")) {
                const shown = (jobs.texts[node.type] ??= []);
                if (shown.at(-1) !== widget.value) shown.push(widget.value);
            }
    });
    // A picture that the server sent while it worked, once the node has it to show.
    setInterval(() => {
        for (const node of app.graph.nodes)
            for (const { src, naturalWidth: width, naturalHeight: height } of node.imgs ?? [])
                if (src.startsWith("blob:") && width && !jobs.end && !jobs.previews.some((known) => known.src === src))
                    jobs.previews.push({ src, node: node.type, width, height });
    }, 20);
    // Links to other servers are noted and not followed.
    const follow = HTMLAnchorElement.prototype.click;
    HTMLAnchorElement.prototype.click = function () {
        if (["", location.host].includes(this.host)) follow.call(this);
        else linked.push(this.href);
    };
    window.tests = {
        jobs,
        linked,
        setWidgets(type, values) {
            for (const [name, value] of Object.entries(values)) {
                const widget = nodeOfType(type).widgets.find((widget) => widget.name === name);
                widget.value = value;
                widget.callback?.(value);
            }
        },
        remove: (types) => app.graph.nodes.filter((n) => types.includes(n.type)).forEach((n) => app.graph.remove(n)),
        add(type) {
            const node = LiteGraph.createNode(type);
            node.pos = [60 + 460 * app.graph.nodes.length, 120];
            app.graph.add(node);
        },
        select(type) {
            tests.center(type);
            app.canvas.selectNode(nodeOfType(type));
        },
        idOf: (type) => String(nodeOfType(type).id),
        center(type) {
            app.canvas.ds.scale = 0.5;  // room for the toolbox over the tallest node
            app.canvas.centerOnNode(nodeOfType(type));
            app.canvas.setDirty(true, true);
        },
        async boxes(zoom) {
            app.canvas.ds.scale = zoom;
            app.canvas.setDirty(true, true);
            // The page lays its nodes out once more.
            await new Promise((done) => setTimeout(done, LiteGraph.vueNodesMode ? 600 : 100));
            const box = (title, [left, top, width, height]) =>
                ({ title, left, top, right: left + width, bottom: top + height });
            const drawn = (node) => {
                const element = document.querySelector(`[data-node-id="${node.id}"]`);
                const rect = element.getBoundingClientRect();
                const bars = [...element.querySelectorAll("*")].map((part) => part.getBoundingClientRect());
                const bottom = Math.max(rect.bottom, ...bars.filter(({ height }) => height).map((bar) => bar.bottom));
                return [node.pos[0], node.pos[1] - 30, rect.width / zoom, (bottom - rect.top) / zoom];
            };
            const bounds = (node) => (LiteGraph.vueNodesMode ? drawn(node) : node.boundingRect);
            return {
                nodes: app.graph.nodes.map((node) => box(node.title, bounds(node))),
                groups: app.graph.groups.map((group) => box(group.title, [...group.pos, ...group.size])),
            };
        },
        shownWidgets(type) {
            const node = nodeOfType(type);
            if (!LiteGraph.vueNodesMode)
                return node.widgets.filter((widget) => node.isWidgetVisible(widget)).map((widget) => widget.name);
            const labels = `[data-node-id="${node.id}"] [data-testid=widget-layout-field-label]`;
            return [...document.querySelectorAll(labels)].map((label) => label.textContent.trim());
        },
        reports: () => Object.fromEntries(app.graph.nodes
            .map((node) => [node.type, node.widgets?.find((widget) => widget.name === "report")?.element.innerText])
            .filter(([, text]) => text)),
        names() {
            const shown = (slots) => slots.map((slot) => slot.label ?? slot.localized_name ?? slot.name);
            return Object.fromEntries(app.graph.nodes.map((node) => [node.type, {
                title: node.title, inputs: shown(node.inputs), outputs: shown(node.outputs),
                widgets: node.widgets?.map((widget) => widget.label ?? widget.name) ?? [],
            }]));
        },
        connect: (source, output, target, input) => nodeOfType(source).connect(output, nodeOfType(target), input),
        slots: () => app.graph.serialize().links.map(([, source, output, target, input, type]) => ({
            type,
            from: app.graph.getNodeById(source).type,
            output: app.graph.getNodeById(source).outputs[output].type,
            to: app.graph.getNodeById(target).type,
            name: app.graph.getNodeById(target).inputs[input].name,
            input: app.graph.getNodeById(target).inputs[input].type,
        })),
        unknown: () => app.graph.nodes.map((n) => n.type).filter((type) => !LiteGraph.registered_node_types[type]),
        async drop(address, name, type) {
            const file = new File([await (await fetch(address)).blob()], name, { type });
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(file);
            const how = { dataTransfer, bubbles: true, cancelable: true, clientX: 700, clientY: 700 };
            app.canvas.canvas.dispatchEvent(new DragEvent("drop", how));
        },
        // The player of a file: one of a graph that was open before may still be in the page.
        player: (name) => [...document.querySelectorAll("video")].find(({ src }) => src.includes(name)),
        async play(name) {
            const video = window.tests.player(name);
            video.currentTime = 0;
            await video.play();
            await new Promise((done) => setTimeout(done, 500));
            return {
                seconds: video.duration, position: video.currentTime,
                width: video.videoWidth, height: video.videoHeight,
                frames: video.getVideoPlaybackQuality().totalVideoFrames,
                sound_bytes: video.webkitAudioDecodedByteCount,
            };
        },
    };
}"""

# Messages lie over the Run button until somebody closes them.
CLOSE_MESSAGES = "() => document.querySelectorAll('.p-toast-close-button').forEach((button) => button.click())"
# So do dialogs over everything, such as that of nodes which this core does not have.
CLOSE_DIALOGS = """() => {
    document.querySelectorAll('.p-dialog-close-button').forEach((button) => button.click());
    return !document.querySelector('.p-dialog-mask');
}"""

Graph = dict[str, Any]


def launch(playwright: Playwright) -> Browser:
    """Start the machine's Chromium or Chrome.

    Playwright's own download does not do: it comes without H.264 and AAC.

    Raises:
        RuntimeError: there is none; the message says what to install.
    """
    for name in SYSTEM_BROWSERS:
        if path := shutil.which(name):
            return playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
    for channel in PLAYWRIGHT_CHANNELS:
        try:
            return playwright.chromium.launch(channel=channel, args=ARGUMENTS)
        except Error:
            continue
    raise RuntimeError("There is no Chromium, Chrome or Edge: install one (Debian: apt-get install chromium).")


class Editor:
    """One open page with the graph editor.

    Args:
        browser: a running browser.
        url: the ComfyUI server.
        files: another editor's files in place of those that the server has.
        locale: language of the editor.
        nodes_2: nodes drawn by the page (Nodes 2.0, what new users of newer editors see), not on the canvas.
        page: more arguments for the browser's page, such as its size.
    """

    def __init__(
        self,
        browser: Browser,
        url: str,
        files: Path | None = None,
        locale: str = "en",
        nodes_2: bool = False,
        **page: Any,
    ) -> None:
        body = json.dumps({**SETTINGS, "Comfy.Locale": locale, NODES_2: nodes_2}).encode()
        urllib.request.urlopen(urllib.request.Request(f"{url}/api/settings", data=body, method="POST")).close()
        self.errors: list[str] = []
        """Exceptions that nobody caught in the page."""
        # A page whose files do not come from the server itself needs a permission for the server's websocket.
        defaults = {
            "viewport": {"width": 1600, "height": 900},
            "permissions": ["local-network-access"] if files else [],
        }
        self.page: Page = browser.new_page(**{**defaults, **page})
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        # The editor asks its maker's servers for news and file sizes: tests talk to nobody.
        self.page.route(lambda address: not address.startswith((url, "data:", "blob:")), lambda route: route.abort())
        if files is not None:
            self.page.route(f"{url}/**", lambda route: _serve(route, files))
        self.page.goto(url)
        self.page.wait_for_function(READY, timeout=120_000)
        self.page.evaluate(HELPERS)

    def load(self, workflow: Graph, name: str) -> None:
        """Open a workflow in a new tab; what the editor has asked about the one before is closed."""
        self.wait_until(CLOSE_DIALOGS)
        self.page.evaluate("([workflow, name]) => app.loadGraphData(workflow, true, true, name)", [workflow, name])
        self.wait_until(f"() => app.graph.nodes.length === {len(workflow['nodes'])}")

    def new(self) -> None:
        """Open an empty tab."""
        self.load({"last_node_id": 0, "last_link_id": 0, "nodes": [], "links": [], "version": 0.4}, "empty")

    def open_tab(self, name: str) -> None:
        """Go to an open tab, then off it with the pointer: what it shows when pointed at lies over the Run button."""
        self.page.get_by_text(name, exact=True).first.click()
        self.page.mouse.move(*EMPTY_SPOT)

    def add(self, node_type: str) -> None:
        """Put a node on the canvas."""
        self._call("add", node_type)

    def connect(self, source: str, output: int, target: str, input_name: str) -> None:
        """Draw a link between the only nodes of these types."""
        self._call("connect", source, output, target, input_name)

    def remove(self, *node_types: str) -> None:
        """Delete all nodes of these types."""
        self._call("remove", list(node_types))

    def set_widgets(self, node_type: str, **values: Any) -> None:
        """Change widgets of the only node of this type."""
        self._call("setWidgets", node_type, values)

    def graph(self) -> Graph:
        """The graph as the editor saves it."""
        return self.page.evaluate("() => app.graph.serialize()")

    def reports(self) -> dict[str, str]:
        """What nodes say about what they have done, by node type."""
        return self._call("reports")

    def names(self) -> dict[str, dict[str, Any]]:
        """Title and the names of inputs, outputs and widgets as the editor shows them, by node type."""
        return self._call("names")

    def shown_widgets(self, node_type: str) -> list[str]:
        """Names of the widgets that a person sees on the only node of this type."""
        return self._call("shownWidgets", node_type)

    def boxes(self, zoom: float) -> dict[str, list[dict[str, Any]]]:
        """Title and sides of all nodes, with what hangs on them, and of all groups, in the graph's pixels."""
        return self._call("boxes", zoom)

    def press_show_advanced(self, node_type: str) -> None:
        """Press the bar below a node that shows or hides its advanced inputs (Nodes 2.0 only)."""
        self._call("center", node_type)
        node_id = self._call("idOf", node_type)
        self.page.locator(f'[data-node-id="{node_id}"] [data-testid=advanced-inputs-button]').click()

    def help_page(self, node_type: str, title: str) -> str:
        """Text of the help page that the node's toolbox opens, once its title is there."""
        self._call("select", node_type)
        self.page.locator("[data-testid=info-button]").click()
        page = self.page.locator(".node-help-content")
        page.locator("h1", has_text=title).wait_for()
        return page.inner_text()

    def offered_models(self, workflow: Graph, name: str) -> set[str]:
        """Open a workflow; addresses that the editor offers for the models that the server lacks."""
        self._warn_of_missing_models(True)
        self.load(workflow, name)
        dialog = self.page.locator(".comfy-missing-models")
        panel = self.page.locator("[data-testid=error-overlay-see-errors]")
        dialog.or_(panel).first.wait_for()
        if dialog.is_visible():
            buttons = dialog.get_by_role("button", name="Download").all()
            addresses = {button.get_attribute("title") for button in buttons}
            self.page.keyboard.press("Escape")
            # It fades out; one that is asked for meanwhile would be this one, and gone with it.
            dialog.wait_for(state="detached")
        else:
            panel.click()
            self.page.locator("[data-testid=missing-model-download-all]").click()
            addresses = set(self.page.evaluate("() => tests.linked.splice(0)"))
        self._warn_of_missing_models(False)
        return addresses

    def play(self, filename: str) -> dict[str, Any]:
        """Play a saved file for half a second in the node's player; what the player knows of it then."""
        self.wait_until(f"() => tests.player({json.dumps(filename)})?.readyState >= 2")
        return self._call("play", filename)

    def _warn_of_missing_models(self, warn: bool) -> None:
        setting = "([name, value]) => app.extensionManager.setting.set(name, value)"
        self.page.evaluate(setting, [MISSING_MODELS, warn])

    def unknown_types(self) -> list[str]:
        """Types of the graph's nodes that the editor does not know."""
        return self._call("unknown")

    def slots(self) -> list[dict[str, Any]]:
        """Both ends of every link: node types, input name, and the three types that must agree."""
        return self._call("slots")

    def press_run(self) -> None:
        """Press Run."""
        self.page.evaluate("() => Object.assign(tests.jobs, { end: null, texts: {}, previews: [] })")
        self.page.evaluate(CLOSE_MESSAGES)
        self.page.locator("[data-testid=queue-button]").click()

    def run(self) -> dict[str, Any]:
        """Press Run and wait for the end.

        Returns:
            What was shown meanwhile: `texts` by node type, and `previews` with the node type and the size of each.
        """
        self.press_run()
        try:
            self.wait_until("() => tests.jobs.end !== null", RUN_TIMEOUT_SECONDS)
        except Error as error:
            refused = self.page.evaluate("() => app.lastNodeErrors")
            raise AssertionError(f"The job did not end; the server's complaints: {refused}") from error
        end = self.page.evaluate("() => tests.jobs.end")
        assert end["kind"] == "execution_success", end.get("exception_message", end["kind"])
        return self.page.evaluate("() => tests.jobs")

    def drop(self, file: dict[str, str], mime: str) -> None:
        """Drop one of the server's files, as history names it, on the canvas."""
        query = "&".join(f"{key}={urllib.request.quote(file[key])}" for key in ("filename", "subfolder", "type"))
        self._call("drop", f"/api/view?{query}", file["filename"], mime)

    def wait_until(self, condition: str, seconds: float = 30) -> None:
        """Wait until a JavaScript function returns true."""
        self.page.wait_for_function(condition, timeout=seconds * 1000)

    def _call(self, function: str, *arguments: Any) -> Any:
        return self.page.evaluate(f"(values) => tests.{function}(...values)", list(arguments))


def _serve(route: Route, files: Path) -> None:
    """Answer from a folder what lies in it; the rest (API, custom nodes) goes to the server."""
    file = files / (urlsplit(route.request.url).path.lstrip("/") or "index.html")
    if file.is_file():
        route.fulfill(path=file)
    else:
        route.fallback()
