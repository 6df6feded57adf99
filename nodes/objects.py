"""What objects must be like that come through a socket: of the right kind at least, whoever made them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..errors import UserError


def check_socket(name: str, io_type: str, value: Any) -> None:
    """Refuse an object of another kind than the socket's: a typed text, or what a node with a socket for all has given.

    Raises:
        UserError: it is another one.
    """
    kinds = [KINDS[kind] for kind in io_type.split(",")]  # a socket may take several
    if not any(fits(value) for fits, _, _ in kinds):
        needed, source = (" or ".join(texts) for texts in zip(*((kind[1], kind[2]) for kind in kinds), strict=True))
        raise UserError(f"{name} is {described(value)}, and {needed} is needed: connect {source}.")


def described(value: Any) -> str:
    """A value of any kind in a few words."""
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    if isinstance(value, Tensor):
        return f"a tensor {list(value.shape)} of {str(value.dtype).removeprefix('torch.')}"
    return f"an object of the kind {type(value).__name__}"


def _is_tensor(value: Any, *dimensions: int) -> bool:
    return isinstance(value, Tensor) and value.ndim in dimensions and not value.is_complex()


def _is_mask(value: Any) -> bool:
    return _is_tensor(value, 2, 3) and 0 not in value.shape[-2:]  # a detector that has found nothing gives 0 masks


def _is_conditioning(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_prompt, value))


def _is_prompt(entry: Any) -> bool:
    if not isinstance(entry, list | tuple) or len(entry) != 2:
        return False
    embedding, options = entry
    return isinstance(embedding, Tensor) and embedding.ndim == 3 and isinstance(options, Mapping)


def _is_audio(value: Any) -> bool:
    from ..video_io.read.long_sound import LongSound

    return isinstance(value, Mapping | LongSound)


def _is_wav2vec(value: Any) -> bool:
    from ..audio.wav2vec import Wav2VecEncoder

    return isinstance(value, Wav2VecEncoder)


def _is_infinitetalk(value: Any) -> bool:
    from ..wanvideo.model.modules import InfiniteTalk

    return isinstance(value, ModelPatcher) and isinstance(value.model, InfiniteTalk)


def _is_embeds(value: Any) -> bool:
    from ..audio.embeds import AudioEmbeds

    return isinstance(value, AudioEmbeds)


def _is_scenes(value: Any) -> bool:
    from ..wanvideo.scenes import SceneWish

    return isinstance(value, tuple) and all(isinstance(scene, SceneWish) for scene in value)


def _has(*names: str) -> Callable[[Any], bool]:
    """Packs have classes of their own for these: what counts is what they can do."""
    return lambda value: all(hasattr(value, name) for name in names)


Kind = tuple[Callable[[Any], bool], str, str]
"""Whether a value is of the kind, what is needed, and where that comes from."""

KINDS: dict[str, Kind] = {
    "BOUNDING_BOX": (
        lambda v: isinstance(v, dict | list),
        "a detector's boxes",
        "the bounding boxes of a face detector",
    ),
    "IMAGE": (lambda v: _is_tensor(v, 4), "an IMAGE [frames, height, width, channels]", "the IMAGE output of a node"),
    "MASK": (_is_mask, "a MASK [masks, height, width]", "the MASK output of a node"),
    "AUDIO": (_is_audio, "an AUDIO", "the AUDIO output of a node"),
    "VIDEO": (_has("get_components"), "a VIDEO", "the VIDEO output of a node"),
    "MODEL": (lambda v: isinstance(v, ModelPatcher), "a MODEL", "a node that loads a diffusion model"),
    "VAE": (_has("encode", "decode", "latent_channels", "patcher"), "a VAE", "Load VAE"),
    "CLIP_VISION": (_has("encode_image", "patcher"), "a CLIP vision model", "Load CLIP Vision"),
    "CONDITIONING": (_is_conditioning, "a CONDITIONING with a prompt in it", "CLIP Text Encode"),
    "INFINITETALK_WAV2VEC": (_is_wav2vec, "a wav2vec model", "the output of Load Wav2Vec"),
    "INFINITETALK_MODEL": (_is_infinitetalk, "InfiniteTalk's weights", "the output of Load InfiniteTalk"),
    "INFINITETALK_SCENES": (_is_scenes, "a list of scenes", "the output of Scene"),
    "INFINITETALK_AUDIO": (_is_embeds, "the embeddings of the audio", "the output of Audio Embeds"),
}
