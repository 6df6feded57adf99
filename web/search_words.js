// Words that people look for where the node's name has others: newer editors search them too.

import { app } from "../../scripts/app.js";

const TALKING = ["talking head", "talking picture", "lip sync", "lipsync", "avatar", "数字人", "对口型", "口型同步", "说话"];
const DUBBING = ["dubbing", "audio to video", "speech to video", "MultiTalk", "配音"];
const WORDS = {
  InfiniteTalkAudioEmbeds: ["MultiTalk", "lip sync", "lipsync", "语音", "口型同步"],
  InfiniteTalkLoadAudio: ["sound", "speech", "mp3", "wav", "语音", "声音"],
  InfiniteTalkMergedModelLoader: ["FlashTalk", "gguf", "checkpoint"],
  InfiniteTalkModelLoader: ["MultiTalk", "FlashTalk", "gguf"],
  InfiniteTalkSampler: [...TALKING, ...DUBBING],
  InfiniteTalkScene: ["storyboard", "分镜"],
  InfiniteTalkSpeakerMasks: ["two people", "multi speaker", "多人"],
  InfiniteTalkSplitSpeakers: ["diarization", "who speaks when", "RTTM", "多人"],
  InfiniteTalkSyncPlot: ["lip sync", "lipsync", "SyncNet", "口型"],
  InfiniteTalkWav2VecLoader: ["audio encoder", "音频编码器"],
  SaveVideoWithAudio: ["video combine", "mp4", "ffmpeg", "mux", "导出视频", "合成视频"],
};

app.registerExtension({
  name: "infinitetalk.search_words",
  beforeRegisterNodeDef(_, nodeData) {
    const words = WORDS[nodeData.name];
    if (words) nodeData.search_aliases = [...(nodeData.search_aliases ?? []), ...words];
  },
});
