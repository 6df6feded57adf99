// A progress text is no value of an input. Older editors show it as a widget of the node and save it behind the inputs'
// values: where a later release has one input more there, the text would become that input's value.

import { app } from "../../scripts/app.js";

const TEXT = "progressText";

// Such a text at the end of what an earlier release has saved, where the input now takes a number or a choice of yes and no.
function isProgressText(value, widget) {
  return typeof value === "string" && /\s/.test(value) && ["number", "boolean"].includes(typeof widget?.value);
}

app.registerExtension({
  name: "infinitetalk.progress_text",
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (nodeData.category !== "InfiniteTalk") return;
    const { configure, onSerialize } = nodeType.prototype;
    nodeType.prototype.configure = function (saved) {
      const values = saved.widgets_values;
      if (Array.isArray(values) && isProgressText(values.at(-1), this.widgets?.[values.length - 1])) values.pop();
      return configure.apply(this, arguments);
    };
    nodeType.prototype.onSerialize = function (saved) {
      const text = this.widgets?.findIndex(({ type }) => type === TEXT) ?? -1;
      if (text >= 0) saved.widgets_values?.splice(text);
      return onSerialize?.apply(this, arguments);
    };
  },
});
