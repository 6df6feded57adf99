"""What cannot work, and what nobody would heed, is refused with a sentence before any work."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from ..support.two_window_job import FRAMES, make_job, run


def guidance_nodes(model):
    """Core's nodes that want another guidance than ours, with what is said of them."""
    from comfy_extras import nodes_fresca, nodes_slg, nodes_tcfg

    replaced = model.clone()
    replaced.set_model_sampler_cfg_function(lambda args: args["cond"])
    return [
        ("replaces the guidance", replaced),
        ("changes what goes into the guidance", nodes_tcfg.TCFG.execute(model).result[0]),
        ("changes what goes into the guidance", nodes_fresca.FreSca.execute(model, 1.0, 1.25, 20).result[0]),
        ("makes the passes", nodes_slg.SkipLayerGuidanceDiTSimple.execute(model, 0.0, 1.0, "1", "1").result[0]),
    ]


def test_a_node_that_wants_another_guidance_is_refused_and_harmless_without_any(models):
    from infinitetalk.errors import UserError

    for said, model in guidance_nodes(models.model):
        with pytest.raises(UserError, match=f"{said} .* take that node out"):
            make_job(models, model, text_cfg=5.0)
        make_job(models, model, text_cfg=1.0, audio_cfg=1.0)


def test_a_scale_that_a_node_gives_to_cores_guidance_is_refused(models):
    from comfy.patcher_extension import WrappersMP
    from infinitetalk.errors import UserError

    def overriding(scale):
        """What core's CFG Override does, which older cores have not."""

        def wrapper(executor, *args, **kwargs):
            guider = executor.class_obj
            saved, guider.cfg = guider.cfg, scale
            try:
                return executor(*args, **kwargs)
            finally:
                guider.cfg = saved

        model = models.model.clone()
        model.add_wrapper(WrappersMP.PREDICT_NOISE, wrapper)
        return model

    with pytest.raises(UserError, match=r"CFG Override.* sets the guidance to 1, .* set text_cfg and audio_cfg"):
        run(make_job(models, overriding(1.0), text_cfg=5.0))
    run(make_job(models, overriding(5.0), text_cfg=5.0))


def test_noise_of_another_model_is_refused(models):
    from comfy_extras import nodes_model_advanced as nodes
    from infinitetalk.errors import UserError

    for node, wishes in (
        (nodes.ModelSamplingAuraFlow, {"shift": 3.0}),
        (nodes.ModelSamplingDiscrete, {"sampling": "eps", "zsnr": False}),
    ):
        (model,) = getattr(node(), node.FUNCTION)(models.model, **wishes)
        with pytest.raises(UserError, match=r"sampling to that of another model .* ModelSamplingSD3"):
            make_job(models, model)
    (shifted,) = nodes.ModelSamplingSD3().patch(models.model, 3.0)
    make_job(models, shifted)


def test_context_windows_that_would_cut_a_window_are_refused(models):
    from comfy import context_windows
    from infinitetalk.errors import UserError

    def cut(latent_frames):
        model = models.model.clone()
        model.model_options["context_handler"] = context_windows.IndexListContextHandler(
            context_windows.get_matching_context_schedule("standard_static"),
            context_windows.get_matching_fuse_method("pyramid"),
            context_length=latent_frames,
            dim=2,
        )
        return model

    windowed = make_job(models).settings.window_frames // 4 + 1
    with pytest.raises(UserError, match=f"of {windowed - 1} latent frames.* of {windowed}: take that node out"):
        make_job(models, cut(windowed - 1))
    make_job(models, cut(windowed))


def test_a_prompt_that_some_steps_have_not_is_refused_where_it_counts(models):
    from infinitetalk.errors import UserError

    width = models.model.get_model_object("diffusion_model").text_dim

    def limited(**options):
        return [[torch.zeros(1, 4, width), options]]

    early, late = limited(start_percent=0.0, end_percent=0.5), limited(start_percent=0.5, end_percent=1.0)
    for prompt in (early, late, limited(strength=0.0)):
        for name in ("positive", "negative"):
            with pytest.raises(UserError, match=f"`{name}` is not there in .* of 4 steps .*Combine"):
                make_job(models, steps=4, text_cfg=5.0, **{name: prompt})
        make_job(models, steps=4, text_cfg=1.0, negative=prompt)
    make_job(models, steps=4, text_cfg=5.0, positive=early + late, negative=late + early)


@pytest.mark.parametrize("key", ["time_dim_concat", "context_latents"])
def test_a_prompt_with_pictures_for_another_model_is_refused(models, key):
    from infinitetalk.errors import UserError

    width = models.model.get_model_object("diffusion_model").text_dim
    pictures = torch.zeros(1, 16, 1, 4, 4)
    prompt = [[torch.zeros(1, 4, width), {key: [pictures] if key == "context_latents" else pictures}]]
    for name in ("positive", "negative"):
        with pytest.raises(UserError, match=rf"`{name}` comes through a node for another model .*to `{name}`"):
            make_job(models, **{name: prompt})


def embeds_with(models, **changes):
    return SimpleNamespace(**{**vars(make_job(models).embeds), **changes})


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"window_frames": 80}, "window_frames is 80"),
        ({"motion_frames": 4}, "motion_frames is 4"),
        ({"motion_frames": 5}, "motion_frames is 5"),
        ({"speaker_masks": torch.zeros(1, 32, 32)}, "speaker 1 covers nothing"),
        ({"speaker_masks": torch.ones(3, 32, 32)}, "3 speaker masks .* but 2 voices"),
        ({"sampler_name": "eular"}, "no sampler named eular"),
        ({"scheduler": "linear"}, "no scheduler named linear"),
        ({"scheduler": "kl_optimal", "steps": 1}, "kl_optimal gives no numbers for steps = 1"),
    ],
)
def test_settings_that_cannot_work_get_a_sentence_before_any_work(models, changes, named):
    from infinitetalk.errors import UserError

    with pytest.raises(UserError, match=named):
        make_job(models, **changes)


def test_embeddings_of_another_width_or_with_nan_get_a_sentence(models):
    from infinitetalk.errors import UserError

    wide = torch.randn(FRAMES, 24, 1024)
    with pytest.raises(UserError, match=r"24 layers × 1024 = 24576 .* expect 192"):
        make_job(models, embeds=embeds_with(models, features=[wide], silence=[wide[:1]]))
    bad = torch.randn(FRAMES, 3, 64)
    bad[5, 1, 7] = torch.nan
    with pytest.raises(UserError, match="voice 1 hold NaN"):
        make_job(models, embeds=embeds_with(models, features=[bad], silence=[bad[:1]]))


def patcher_of(diffusion_model):
    """As much of a model patcher as is looked at."""
    model = SimpleNamespace(diffusion_model=diffusion_model)
    return SimpleNamespace(model=model, get_model_object=lambda _: diffusion_model)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"in_dim": 16}, "text-to-video"),
        ({"img_emb": None}, "Wan 2.2 I2V"),
        ({"out_dim": 48}, "Wan 2.2 TI2V"),
        ({"in_dim": 48}, "Fun/control"),
        ({"dim": 384}, "3 blocks of width 384"),
    ],
)
def test_other_wan_models_are_called_by_their_name(models, change, named):
    from comfy.ldm.wan.model import WanModel
    from infinitetalk.errors import UserError
    from infinitetalk.wanvideo.model.base_model import check_base_model

    # The real models have billions of weights; what tells them apart are these attributes.
    wan = object.__new__(WanModel)
    wan.__dict__.update({"in_dim": 36, "out_dim": 16, "dim": 256, "blocks": [0, 1, 2], "img_emb": object(), **change})
    with pytest.raises(UserError, match=named):
        check_base_model(patcher_of(wan), models.infinitetalk.model.config)


def test_vace_and_a_vae_of_another_family_are_refused(models):
    from infinitetalk.errors import UserError

    with pytest.raises(UserError, match="VAE makes latents of 4 channels"):
        make_job(models, vae=SimpleNamespace(latent_channels=4, latent_dim=2))
    import comfy.ldm.wan.model
    from infinitetalk.wanvideo.model.base_model import check_base_model

    vace = patcher_of(object.__new__(comfy.ldm.wan.model.VaceWanModel))
    with pytest.raises(UserError, match="VaceWanModel"):
        check_base_model(vace, models.infinitetalk.model.config)
