// The video of the windows that are finished, on the sampler while it makes the others (its input growing_video).

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

const WIDGET = "growing video";
const HEIGHT = 180;
const ENCODING_MS = 1000; // the server tells when the encoder has the frames, not when the file has them

function videoWidget(node) {
  const known = node.widgets?.find((widget) => widget.name === WIDGET);
  if (known) return known;
  const element = document.createElement("video");
  Object.assign(element, { className: "infinitetalk-growing-video", controls: true });
  Object.assign(element.style, { background: "black", width: "100%" });
  const heights = { getMinHeight: () => HEIGHT, getMaxHeight: () => HEIGHT };
  const widget = node.addDOMWidget(WIDGET, "video", element, { ...heights, serialize: false });
  widget.serialize = false;
  return widget;
}

function show(node, file) {
  const { element } = videoWidget(node);
  const { currentTime, paused } = element;
  element.src = api.apiURL(`/view?${new URLSearchParams({ ...file, grown: Date.now() })}`);
  element.currentTime = currentTime;
  if (currentTime && !paused) element.play();
  const [width, height] = node.size;
  node.setSize([width, Math.max(height, node.computeSize()[1])]);
}

function hide(node) {
  const widget = node.widgets?.find((one) => one.name === WIDGET);
  if (!widget) return;
  widget.element.removeAttribute("src"); // lets go of the file, which is deleted now
  widget.element.load();
  widget.onRemove?.();
  node.widgets.splice(node.widgets.indexOf(widget), 1);
}

// "12", or "18:12" for node 12 in the subgraph that node 18 is.
function nodeOf(executionId) {
  let graph = app.rootGraph ?? app.graph;
  let node;
  for (const id of String(executionId).split(":")) {
    node = graph?.getNodeById(id);
    graph = node?.subgraph;
  }
  return node;
}

app.registerExtension({
  name: "infinitetalk.growing_video",
  setup() {
    api.addEventListener("infinitetalk.growing_video", ({ detail }) => {
      const node = nodeOf(detail.node);
      if (!node) return;
      if (detail.file) setTimeout(() => show(node, detail.file), ENCODING_MS);
      else setTimeout(() => hide(node), ENCODING_MS); // behind the last one to show
      node.setDirtyCanvas(true, true);
    });
  },
});
