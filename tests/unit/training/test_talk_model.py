"""The training of the talking model sees what the sampler sees, and writes what the nodes read."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cartoon_models
import numpy as np
import pytest
import tiny_models
import torch
from safetensors.torch import save_file

TOLERANCE = 1e-4  # between two orders of the same float32 sums
FEW_SIZES = {"layers": 2, "ffn_dim": 64}
FRAMES, SIDE = 33, 12
KINDS = ((4, 1), (2, 2), (4, 1))  # windows and their faces: alone, two, shots


@pytest.fixture(scope="module")
def training(comfy_core: Path) -> SimpleNamespace:
    """The modules of the training; they need core and are imported after it."""
    import train_talk
    from training import talk_data, talk_model

    return SimpleNamespace(model=talk_model, data=talk_data, train=train_talk)


@pytest.fixture(scope="module")
def talk(training: SimpleNamespace):
    """A small model in which every weight matters, rounded as in its files."""
    torch.manual_seed(0)
    model = training.model.TalkModel(training.model.Sizes(**FEW_SIZES))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "text_embedding.0.weight" in name or "img_emb.proj.1.weight" in name:
                continue  # zero for good: prompts and CLIP pictures change nothing
            weight += 0.05 * torch.randn_like(weight)
            weight.copy_(weight.half())
    return model


@pytest.fixture(scope="module")
def folder(training: SimpleNamespace, talk, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with all four files; the VAE is an untrained one."""
    from training import vae_model

    models = tmp_path_factory.mktemp("models")
    training.model.save_talk_model(talk, models)
    training.model.save_wav2vec(talk.sizes, models)
    torch.manual_seed(1)
    vae = {name: value.half().contiguous() for name, value in vae_model.VAE(4).checkpoint().items()}
    (models / cartoon_models.VAE).parent.mkdir()
    save_file(vae, models / cartoon_models.VAE)
    return models


@pytest.fixture(scope="module")
def loaded(training: SimpleNamespace, folder: Path) -> SimpleNamespace:
    """The files, read by core's and the pack's own loaders, in float32."""
    import comfy.sd
    import comfy.utils
    from infinitetalk.audio.wav2vec import load_encoder
    from infinitetalk.wanvideo.model.checkpoint import load_infinitetalk

    return SimpleNamespace(
        model=comfy.sd.load_diffusion_model(
            str(folder / cartoon_models.BASE_I2V), model_options={"dtype": torch.float32}
        ),
        infinitetalk=load_infinitetalk(folder / cartoon_models.INFINITETALK),
        vae=comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(folder / cartoon_models.VAE))),
        wav2vec=load_encoder(folder / cartoon_models.WAV2VEC, "fp32"),
    )


@pytest.fixture
def spoken(monkeypatch: pytest.MonkeyPatch, training: SimpleNamespace) -> np.ndarray:
    """A sound of three seconds in place of a spoken one: the program that speaks is not what is tested here."""
    time = np.arange(3 * 16_000) / 16_000
    sound = (0.3 * np.sin(2 * np.pi * 150 * time) * np.abs(np.sin(2 * np.pi * 1.5 * time))).astype(np.float32)
    monkeypatch.setattr(training.data, "sound_clip", lambda *_, **__: sound)
    return sound


def random_windows(training: SimpleNamespace, count: int, faces: int = 1):
    """Windows of random numbers, first and later ones in turn."""
    generator = torch.Generator().manual_seed(5)
    latents = torch.randn(2, count, 16, 9, SIDE, faces * SIDE, generator=generator)
    mouth = torch.zeros(count, SIDE, faces * SIDE, dtype=torch.bool)
    mouth[:, 7:10, 4:8] = True
    return training.data.Windows(
        clean=latents[0],
        keyframe=latents[1],
        audio=torch.randn(count, faces, FRAMES + 4, 3, 64, generator=generator),
        motion=torch.tensor([1, 3]).repeat(count)[:count],
        mouth=mouth,
        worn=torch.stack([latents[0][:, :, :3]] * 2, dim=1),
    )


def problem_of(training: SimpleNamespace, faces: int = 1, **changes: float):
    recipe = replace(training.train.Recipe(), **changes)
    return training.train.noised(random_windows(training, 2, faces), recipe, torch.Generator().manual_seed(3))


@torch.no_grad()
@pytest.mark.parametrize("faces", [1, 2])
def test_the_trained_forward_is_that_of_core_with_our_hooks(training, talk, loaded, faces):
    import comfy.model_management
    from infinitetalk.wanvideo.conditioning import ZeroClipOutput, empty_text
    from infinitetalk.wanvideo.masks import half_masks, token_masks
    from infinitetalk.wanvideo.model.audio_patches import AUDIO_TOKENS_KEY, FACES_KEY, VOICE_PER_SLOT_KEY, attach

    problem = problem_of(training, faces, silent_share=0.0)
    ours = talk.velocity(problem.x, problem.sigma, problem.condition, problem.audio, problem.masks)
    size = (8 * SIDE, 16 * SIDE)
    two = {
        VOICE_PER_SLOT_KEY: torch.arange(2).expand(1, 9, 2),
        FACES_KEY: token_masks(half_masks(*size), 2, size, size)[None],
    }
    patched = attach(loaded.model, loaded.infinitetalk, 1.0, two_speakers=faces == 2)
    comfy.model_management.load_models_gpu([patched, loaded.infinitetalk])
    for index in range(len(problem.x)):
        sigma = problem.sigma[index : index + 1]
        denoised = patched.model.apply_model(
            problem.x[index : index + 1],
            sigma,
            c_concat=problem.condition[index : index + 1],
            c_crossattn=empty_text(4096)[0][0],
            clip_fea=ZeroClipOutput.penultimate_hidden_states,
            transformer_options={**patched.model_options["transformer_options"], "wrappers": patched.wrappers},
            **{AUDIO_TOKENS_KEY: loaded.infinitetalk.model.audio_proj(problem.audio[index])[None]},
            **(two if faces == 2 else {}),
        )
        theirs = (problem.x[index] - denoised[0]) / sigma
        assert theirs.std() > 0.1
        assert (ours[index] - theirs).abs().max() < TOLERANCE * max(1.0, float(theirs.abs().max()))


@torch.no_grad()
def test_each_side_hears_its_own_voice(training, talk):
    problem = problem_of(training, 2)
    both = talk.velocity(problem.x, problem.sigma, problem.condition, problem.audio, problem.masks)
    swapped = talk.velocity(problem.x, problem.sigma, problem.condition, problem.audio.flip(1), problem.masks)
    assert (both - swapped).abs().max() > 0.01
    assert problem.audio.abs().amin(dim=(1, 2, 3, 4, 5)).min() > 0  # no voice is dropped: the sampler drops none alone


@torch.no_grad()
def test_the_audio_is_heard_and_a_prompt_is_not(training, talk, loaded):
    problem = problem_of(training, silent_share=0.0)
    ours = talk.velocity(problem.x, problem.sigma, problem.condition, problem.audio, problem.masks)
    silent = talk.velocity(problem.x, problem.sigma, problem.condition, problem.audio * 0)
    assert (ours - silent).abs().max() > 0.01
    core = loaded.model.model.diffusion_model
    prompts = torch.stack([torch.zeros(512, 4096), torch.randn(512, 4096, generator=torch.Generator().manual_seed(1))])
    pictures = torch.stack([torch.zeros(257, 1280), torch.ones(257, 1280)])
    assert torch.equal(*core.text_embedding(prompts))
    image = core.img_emb(pictures)
    assert torch.allclose(image[0], image[1])


def test_written_weights_come_back(training, talk, folder):
    again = training.model.load_talk_model(folder, talk.sizes)
    assert all(torch.equal(value, talk.state_dict()[name]) for name, value in again.state_dict().items())


def test_the_loaders_find_the_sizes(training, talk, loaded):
    core = loaded.model.model.diffusion_model
    assert (core.dim, len(core.blocks), core.in_dim, core.ffn_dim) == (128, 2, 36, 64)
    assert loaded.infinitetalk.model.config == talk.sizes.infinitetalk
    assert (loaded.wav2vec.config.channels, loaded.wav2vec.config.layers, loaded.wav2vec.config.heads) == (64, 3, 1)


def test_the_files_of_the_demo_are_small(training, tmp_path):
    sizes = training.model.Sizes()
    files = training.model.save_talk_model(training.model.TalkModel(sizes), tmp_path)
    files.append(training.model.save_wav2vec(sizes, tmp_path))
    assert sum(file.stat().st_size for file in files) < 10.85e6  # the VAE's 4.11 MB to 15


def test_every_weight_starts_with_a_number(training):
    model = training.model.TalkModel(training.model.Sizes(**FEW_SIZES))
    assert all(torch.isfinite(value).all() and value.abs().max() < 5 for value in model.state_dict().values())


@torch.no_grad()
def test_a_clips_latents_are_those_that_the_sampler_encodes(training, loaded, folder, spoken, monkeypatch):
    from infinitetalk.wanvideo.keyframe import KeyframeEncoder

    drawn = []
    draw = training.data.render
    monkeypatch.setattr(
        training.data, "render", lambda *args, **options: drawn.append(draw(*args, **options)) or drawn[-1]
    )
    windows = training.data.ClipMaker.load(folder, seed=0).clip(0, held_out=False)
    first, later = (torch.from_numpy(frames).float() / 255 for frames in drawn)
    keyframe = KeyframeEncoder(loaded.vae, None, FRAMES).encode(first[:1])
    into_model = loaded.model.model.process_latent_in
    expected = {
        "keyframe": (windows.keyframe[0], keyframe.latent),
        "first motion": (windows.clean[0][:, :1], keyframe.first_latent),
        "first window": (windows.clean[0], loaded.vae.encode(first)),
        "later motion": (windows.clean[1][:, :3], loaded.vae.encode(later[:9])),
    }
    for name, (ours, theirs) in expected.items():
        assert (ours.float() - into_model(theirs)[0]).abs().max() < 3e-3, name  # float16 in the cache
    assert torch.equal(windows.keyframe[0], windows.keyframe[1])
    assert windows.motion.tolist() == [1, 3]


@torch.no_grad()
def test_two_speakers_stand_side_by_side_and_have_a_voice_each(training, folder, monkeypatch):
    times = np.arange(3 * 16_000) / 16_000
    sounds = iter([(0.3 * np.sin(2 * np.pi * pitch * times)).astype(np.float32) for pitch in (150, 400)])
    drawn = []
    draw = training.data.render
    monkeypatch.setattr(training.data, "sound_clip", lambda *_, **__: next(sounds))
    monkeypatch.setattr(
        training.data, "render", lambda *args, **options: drawn.append(draw(*args, **options)) or drawn[-1]
    )
    maker = training.data.ClipMaker.load(folder, seed=0)
    windows = maker.clip(0, held_out=False, kind="pair")
    assert windows.audio.shape == (2, 2, FRAMES + 4, 3, 64)
    assert (windows.audio[:, 0] - windows.audio[:, 1]).abs().max() > 0.1
    first = training.data.pixels(np.concatenate(drawn[:2], axis=2))
    assert torch.allclose(windows.clean[0], training.data.encoded(maker.vae, first[None])[0].half(), atol=3e-3)
    assert all(side.any() for side in windows.mouth.split(SIDE, dim=2))


@torch.no_grad()
def test_each_window_of_a_shot_has_the_frame_that_it_begins_with_as_it_was_before_it_was_dubbed(
    training, folder, spoken, monkeypatch
):
    drawn = []
    draw = training.data.render
    monkeypatch.setattr(
        training.data, "render", lambda *args, **options: drawn.append(draw(*args, **options)) or drawn[-1]
    )
    maker = training.data.ClipMaker.load(folder, seed=0)
    windows = maker.clip(1, held_out=False, kind="shot")
    first, later, before = map(training.data.pixels, drawn)
    for keyframe, picture in zip(windows.keyframe, (first[:1], before), strict=True):
        expected = training.data.encoded(maker.vae, training.data.keyframe_clip(picture)[None])[0]
        assert torch.allclose(keyframe, expected.half(), atol=3e-3)
    changed = (later[0] - before[0]).abs().amax(dim=0) > 0
    mouth = windows.mouth[1].repeat_interleave(8, dim=0).repeat_interleave(8, dim=1)
    assert changed.any()
    assert not changed[~mouth].any()  # the same moment of the same shot, but for what is said
    assert (first[0] - later[0]).abs().amax(dim=0)[~mouth].mean() > 0.02


def test_the_condition_is_the_one_that_core_makes_of_a_keyframe(training, loaded):
    from infinitetalk.wanvideo.keyframe import Keyframe

    latent = torch.randn(1, 16, 9, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    keyframe = Keyframe(torch.zeros(1, 96, 96, 3), latent.clone(), None)
    theirs = loaded.model.model.concat_cond(
        noise=torch.zeros_like(latent),
        concat_latent_image=keyframe.latent,
        concat_mask=keyframe.mask,
        device=torch.device("cpu"),
    )
    ours = training.model.condition(loaded.model.model.process_latent_in(latent))
    assert torch.allclose(ours, theirs, atol=1e-6)


@torch.no_grad()
def test_a_clips_audio_is_what_the_sampler_hears(training, loaded, folder, spoken):
    from infinitetalk.audio.audio_clip import AudioClip
    from infinitetalk.audio.embeds import embed_voices
    from infinitetalk.wanvideo.voices import Voices
    from infinitetalk.wanvideo.windows import Window

    maker = training.data.ClipMaker.load(folder, seed=0)
    windows = maker.clip(0, held_out=False)
    voice = {"waveform": torch.from_numpy(spoken)[None, None], "sample_rate": 16_000}
    embeds = embed_voices(maker.encoder, [AudioClip.from_audio(voice, "audio_1")])
    heard = Voices.of(embeds).window(Window(0, 0, FRAMES, 0, 0), "silence")
    assert torch.allclose(training.data.as_windows(windows.audio.float())[0], heard, atol=3e-3)
    end = embeds.frames - 10  # a window that reaches beyond the sound
    rows = training.data.heard_rows(embeds.features, embeds.silence, end)
    heard = Voices.of(embeds).window(Window(1, end, FRAMES, 9, 23), "silence")
    assert torch.equal(training.data.as_windows(rows), heard)


def test_motion_latents_are_clean_and_count_for_nothing(training):
    problem = problem_of(training, motion_noise=0.0)
    windows = random_windows(training, 2)
    for index, given in enumerate((1, 3)):
        assert torch.equal(problem.x[index, :, :given], windows.clean[index, :, :given])
        assert not torch.isclose(problem.x[index, :, given:], windows.clean[index, :, given:]).all(dim=0).any()
        assert problem.weight[index, 0, :given].sum() == 0
        assert (problem.weight[index, 0, given:] > 0).all()
        assert problem.weight[index, 0, -1].unique().tolist() == [1, 4]
    sigma = problem.sigma[:, None, None, None, None]
    clean = problem.x - sigma * problem.target  # what core calls denoised
    assert torch.allclose(clean[:, :, 3:], windows.clean[:, :, 3:], atol=1e-5)


@torch.no_grad()
def test_motion_latents_wear_out_as_between_the_samplers_windows(training):
    vae = training.data.vae_model.VAE(4)
    motion = torch.randn(16, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    first = training.data.worn_latents(vae, motion, 0)
    later = training.data.worn_latents(vae, motion, 24)
    assert first.shape == later.shape == (training.data.ROUND_TRIPS + 1, 16, 3, 4, 4)
    assert torch.equal(first, motion.expand_as(first))
    assert torch.equal(later[0], motion)
    process = training.data.Wan21()
    frames = vae.decode(process.process_out(later[1:2]).transpose(1, 2)).clamp(-1, 1)
    in_8_bits = ((frames + 1) * 127.5).round() / 127.5 - 1
    torch.testing.assert_close(later[2:3], training.data.encoded(vae, in_8_bits))


def test_a_dropped_voice_is_the_samplers_zero_audio(training, talk):
    problem = problem_of(training, silent_share=1.0)
    zero = talk.audio_proj(torch.zeros(1, 5, 5, 3, 64))  # as in `WindowLoop._silence`
    tokens = talk.audio_tokens(problem.audio)
    assert torch.allclose(tokens[:, :1], zero[:1].expand_as(tokens[:, :1]), atol=1e-6)
    assert torch.allclose(tokens[:, 1:], zero[1:].expand_as(tokens[:, 1:]), atol=1e-6)


def test_training_lowers_the_loss_and_goes_on_after_a_stop(training, tmp_path):
    def smooth(windows):
        return replace(windows, clean=windows.keyframe.mean((2, 3, 4), keepdim=True).expand_as(windows.clean))

    data = training.train.Data(*(smooth(random_windows(training, count, faces)) for count, faces in KINDS))
    sizes = training.model.Sizes(**FEW_SIZES)
    recipe = training.train.Recipe(batch=4, warm_up_steps=5, learning_rate=5e-3)

    def start(name: str):
        return training.train.Training(tmp_path / name, data, sizes, recipe, seed=0, bfloat16=False)

    whole = start("whole")
    losses = [whole.train_step(0.0) for _ in range(30)]
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    stopped = start("stopped")
    stopped.run(training.train.Limit(steps=15))
    shutil.copytree(tmp_path / "stopped", tmp_path / "moved")
    again = start("moved")
    assert again.step == 15
    assert again.train_step(0.5) == pytest.approx(stopped.train_step(0.5), rel=1e-5)
    for a, b in zip(again.average.parameters(), stopped.average.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_clips_are_made_once(training, folder, tmp_path, monkeypatch):
    made = []

    class Pool:
        """Does the work at once and in this process, without the program that speaks."""

        def __init__(self, *_, **__):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def submit(self, _, models, seed, clips, held_out, kind, file):
            made.append((clips, held_out, kind))
            random_windows(training, 2 * len(clips), 2 if kind == "pair" else 1).write(file)
            return SimpleNamespace(result=lambda: None)

    monkeypatch.setattr(training.data, "ProcessPoolExecutor", Pool)
    cache = training.data.ClipCache(tmp_path, folder, seed=0, clips_per_shard=2)
    assert len(cache.windows(3, held_out=False)) == 6
    assert len(cache.windows(4, held_out=False)) == 8
    assert len(cache.windows(5, held_out=False)) == 10
    assert len(cache.windows(1, held_out=True)) == 2
    assert cache.windows(1, held_out=False, kind="pair").clean.shape == (2, 16, 9, SIDE, 2 * SIDE)
    assert made == [
        (range(2), False, "face"),
        (range(2, 4), False, "face"),
        (range(4, 6), False, "face"),
        (range(2), True, "face"),
        (range(2), False, "pair"),
    ]
    other = replace(cache, seed=1)
    other.windows(1, held_out=False)
    assert len(made) == 6


def test_the_wav2vec_of_the_demo_has_the_layout_of_a_published_one(training, folder):
    from safetensors.numpy import load_file

    weights = load_file(folder / cartoon_models.WAV2VEC)
    wanted = tiny_models.wav2vec(training.model.Sizes().audio, 0)
    assert {name: value.shape for name, value in weights.items()} == {n: v.shape for n, v in wanted.items()}
