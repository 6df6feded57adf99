// The video of the windows that are finished, on the sampler while it makes the others (its input growing_video).

import { api } from "../../scripts/api.js";
import { nodeAt } from "./node_at.js";

const NODE = "InfiniteTalkSampler";
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
  const widget = videoWidget(node);
  const { element } = widget;
  const { currentTime, paused } = element;
  element.src = api.apiURL(`/view?${new URLSearchParams({ ...file, grown: Date.now() })}`);
  element.currentTime = currentTime;
  if (currentTime && !paused) element.play().catch(() => {}); // it may grow once more, or be gone, before it is loaded
  const [width, height] = node.size;
  node.setSize([width, Math.max(height, node.computeSize()[1])]);
  widget.added = (widget.added ?? 0) + node.size[1] - height;
  node.setDirtyCanvas(true, true);
}

function hide(node) {
  const widget = node.widgets?.find((one) => one.name === WIDGET);
  if (!widget) return;
  widget.element.removeAttribute("src"); // lets go of the file, which is deleted now
  widget.element.load();
  widget.onRemove?.();
  node.widgets.splice(node.widgets.indexOf(widget), 1);
  const [width, height] = node.size;
  node.setSize([width, Math.max(height - widget.added, node.computeSize()[1])]);
  node.setDirtyCanvas(true, true);
}

// Not in an extension's setup: a page that is opened in the middle of a job is told before.
api.addEventListener("infinitetalk.growing_video", ({ detail }) => {
  // Hiding waits as long, to come behind the last one to show.
  setTimeout(() => {
    const node = nodeAt(detail.node);
    if (node?.type !== NODE) return; // another workflow is open
    if (detail.file) show(node, detail.file);
    else hide(node);
  }, ENCODING_MS);
});
