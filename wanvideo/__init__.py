"""InfiniteTalk on ComfyUI core's Wan 2.1 I2V model: windows, voices, guidance, the sampling loop and the job.

`model` is what touches core's model and `resume` what recognizes finished windows. `windows`, `schedule`, `guidance`,
`resolution`, `masks`, `voices` and `pictures` are arithmetic on tensors; every other module imports ComfyUI's `comfy`
when it is loaded, so it must be on the path by then.
"""
