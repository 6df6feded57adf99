// What a node reports as text when it has finished stays on the node: the length of the video on Audio Embeds; who
// speaks on Split Speakers; on the save node facts about the file, and the warning that its sound is missing; on the loaders whose weights a file holds;
// on the sampler that its source video is HDR or interlaced, and the warning that its settings are those of other weights; on Sync Plot
// how well lips and sound go together.
//
// The server's progress text cannot do this: newer editors take it away as soon as the job has ended.

import { app } from "../../scripts/app.js";
import { nodeAt } from "./node_at.js";

// Of two lines and of three, with the margins that the editor leaves around them; longer texts scroll.
const HEIGHTS = {
  InfiniteTalkAudioEmbeds: 55,
  InfiniteTalkMergedModelLoader: 68,
  InfiniteTalkModelLoader: 55,
  InfiniteTalkSampler: 68,
  InfiniteTalkSplitSpeakers: 55,
  InfiniteTalkSyncPlot: 68,
  SaveVideoWithAudio: 68,
};
const WIDGET = "report";
const STYLE = {
  font: "11px sans-serif",
  color: "var(--input-text)",
  overflow: "auto",
  overflowWrap: "anywhere",
  padding: "4px 8px",
  userSelect: "text",
  whiteSpace: "pre-wrap",
};

function reportWidget(node) {
  const known = node.widgets?.find((widget) => widget.name === WIDGET);
  if (known) return known;
  const element = document.createElement("div");
  element.className = "infinitetalk-report";
  Object.assign(element.style, STYLE);
  const widget = node.addDOMWidget(WIDGET, "report", element, {
    getMinHeight: () => HEIGHTS[node.type],
    getMaxHeight: () => HEIGHTS[node.type],
    getValue: () => element.textContent,
    setValue: (text) => (element.textContent = text),
  });
  widget.serialize = false;
  return widget;
}

function show(node, output) {
  if (!output?.text) return;
  if (!output.text.length) return remove(node);
  const [width, height] = node.size;
  const widget = reportWidget(node);
  widget.value = output.text.join("\n");
  node.setSize([width, Math.max(height, node.computeSize()[1])]);
  widget.added = (widget.added ?? 0) + node.size[1] - height;
  node.setDirtyCanvas(true, true);
}

// The job before had something to say, this one has not.
function remove(node) {
  const widget = node.widgets?.find((one) => one.name === WIDGET);
  if (!widget) return;
  widget.onRemove?.();
  node.widgets.splice(node.widgets.indexOf(widget), 1);
  const [width, height] = node.size;
  node.setSize([width, Math.max(height - widget.added, node.computeSize()[1])]);
  node.setDirtyCanvas(true, true);
}

app.registerExtension({
  name: "infinitetalk.report",
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (!(nodeData.name in HEIGHTS)) return;
    // Texts and players are no inputs: the editor would send its player to the server, for which that is another job,
    // and pressing Run once more would save the same video again.
    const { addDOMWidget, onExecuted } = nodeType.prototype;
    const inputs = { ...nodeData.input?.required, ...nodeData.input?.optional };
    nodeType.prototype.addDOMWidget = function (name, type, element, options) {
      const shown = name in inputs ? options : { ...options, serialize: false };
      return addDOMWidget.call(this, name, type, element, shown);
    };
    nodeType.prototype.onExecuted = function (output) {
      onExecuted?.apply(this, arguments);
      show(this, output);
    };
  },
  // Newer editors bring the outputs back when a tab is opened again.
  onNodeOutputsUpdated(outputs) {
    for (const [locator, output] of Object.entries(outputs)) {
      const node = nodeAt(locator);
      if (node && node.type in HEIGHTS) show(node, output);
    }
  },
});
