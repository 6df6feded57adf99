"""An extension of the tests' ComfyUI: core builds text encoder and CLIP Vision as small as the files beside this one.

The sizes of umt5-xxl (11 GB) and CLIP ViT-H (2.5 GB) stand in files beside core's modules, and no checkpoint can
change them. So here those modules believe that they lie in this folder; all else of core's loaders and encoders is
as it is.
"""

import comfy.clip_vision
import comfy.text_encoders.wan

for module in (comfy.clip_vision, comfy.text_encoders.wan):
    module.__file__ = __file__

NODE_CLASS_MAPPINGS = {}
