"""InfiniteTalk on ComfyUI core's Wan 2.1 I2V model.

Importing a module from here needs ComfyUI (`comfy`) on the path, except `windows`, `schedule`, `guidance`
and `resolution`, which are plain arithmetic.
"""
