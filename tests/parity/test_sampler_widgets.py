"""The sampler's widgets on the node and in the library."""

from __future__ import annotations

import dataclasses

HANDLED_BY_THE_NODE = {"resolution", "width", "height", "resume", "part", "growing_video"}
"""Size, what is made of it, and what is shown meanwhile do not reach the window loop."""


def test_each_widget_of_the_node_is_a_setting_of_the_same_name_and_default(comfy_core):
    from comfy_api.latest import io
    from infinitetalk.nodes.sampler_schema import sampler_schema
    from infinitetalk.wanvideo.settings import SamplerSettings

    widgets = {given.id: given.default for given in sampler_schema().inputs if isinstance(given, io.WidgetInput)}
    settings = {field.name: field.default for field in dataclasses.fields(SamplerSettings)}
    assert {name: value for name, value in widgets.items() if name not in HANDLED_BY_THE_NODE} == settings
