"""What is on the canvas of each example workflow: columns of nodes, links and values by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .canvas import Beside, Columns, Node, Output, loader, node, note

SD15 = "Comfy-Org/stable-diffusion-v1-5-archive/resolve/main/v1-5-pruned-emaonly-fp16.safetensors"
SDXL = "stabilityai/stable-diffusion-xl-base-1.0/resolve/main/sd_xl_base_1.0.safetensors"
SD35 = "Comfy-Org/stable-diffusion-3.5-fp8/resolve/main/sd3.5_medium_incl_clips_t5xxlfp8scaled.safetensors"
FLUX = "Comfy-Org/flux1-schnell/resolve/main/flux1-schnell-fp8.safetensors"
LCM = "latent-consistency/lcm-lora-sdv1-5/resolve/main/pytorch_lora_weights.safetensors"
LIGHTHOUSE = (
    "a lighthouse on a cliff above a stormy sea, dramatic clouds, golden light, highly detailed photograph"
)
VALLEY = "a village in a green mountain valley, wooden houses, morning mist, highly detailed photograph"
TINY_VAE = (
    "**taesd** in Load VAE needs the files `taesd_encoder` and `taesd_decoder` of"
    " [madebyollin/taesd](https://github.com/madebyollin/taesd) in `models/vae_approx`"
)
PREVIEWED = 600  # pixels that a boost is tall while it shows its live preview


def checkpoint(address: str = SD15) -> Node:
    return loader("CheckpointLoaderSimple", "ckpt_name", address, "checkpoints")


def booster(family: str = "sd15") -> Node:
    return node("FMBoostModelLoader", model_name=f"boostnet-{family}", precision="auto", compile=False)


def boost(model: Node, latent: Output, factor: float = 2, detail: float = 0.3, **more: Any) -> Node:
    values = {"size": "by factor", "size.factor": factor, "detail": detail, "steps": 1, "seed": 0}
    values |= {"control_after_generate": "fixed", "solver": "euler", "tile_size": 0, **more}
    return node("FMBoostUpscale", model=model["FMBOOST_MODEL"], latent=latent, **values)


def decode(latent: Node, vae: Output, kind: str = "VAEDecode", **more: Any) -> Node:
    return node(kind, samples=latent["LATENT"], vae=vae, **more)


def save(image: Node, tall: int = 560, prefix: str = "FMBoost", title: str | None = None) -> Node:
    return node("SaveImage", tall=tall, title=title, images=image["IMAGE"], filename_prefix=prefix)


def prompts(clip: Output, text: str) -> list[Node]:
    return [
        node("CLIPTextEncode", title="Prompt", tall=150, clip=clip, text=text),
        node("CLIPTextEncode", title="Negative prompt", tall=110, clip=clip, text="blurry, text, watermark"),
    ]


def empty(side: int, kind: str = "EmptyLatentImage") -> Node:
    return node(kind, width=side, height=side, batch_size=1)


def sample(model: Output, texts: Sequence[Node], latent: Node, **values: Any) -> Node:
    positive, negative = (text["CONDITIONING"] for text in texts)
    usual = {"seed": 42, "control_after_generate": "fixed", "steps": 20, "cfg": 7}
    usual |= {"sampler_name": "dpmpp_2m", "scheduler": "karras", "denoise": 1}
    links = {"model": model, "positive": positive, "negative": negative, "latent_image": latent["LATENT"]}
    return node("KSampler", **links, **(usual | values))


def text_to_image(words: Node, file: str, family: str, size: Node, **sampling: Any) -> Columns:
    weights, model = checkpoint(file), booster(family)
    texts = prompts(weights["CLIP"], LIGHTHOUSE)
    small = sample(weights["MODEL"], texts, size, **sampling)
    large = boost(model, small["LATENT"])
    image = decode(large, weights["VAE"])
    columns = [(380, [words, weights]), (380, [*texts, size]), (320, [small, model])]
    return [*columns, (330, [large]), (560, [image, save(image)])]


def sd15_text_to_image() -> Columns:
    words = note(220, """
        ## Text to image at 1024 px, sampled at 512

        The sampler works at 512×512, where Stable Diffusion 1.5 is at home and fast. **FMBoost Upscale
        Latent** then takes its latent to 1024×1024 in one evaluation of a small network.

        - **detail**: 0 is faithful, higher invents texture. Try 0.2 to 0.5.
        - **factor**: up to 8; above 2 it works in stages.
        - The same checkpoint's VAE decodes the large latent.
        """)  # fmt: skip
    return text_to_image(words, SD15, "sd15", empty(512))


def sdxl_text_to_image() -> Columns:
    words = note(220, """
        ## Text to image at 2048 px, sampled at 1024

        SDXL samples at 1024×1024, and **FMBoost Upscale Latent** takes its latent to 2048×2048.

        - **model_name** ends in **sdxl**: a model boosts latents of its own family only. It suits every
          checkpoint that came of SDXL, such as Pony and Illustrious.
        - Out of memory at VAE Decode? Put *VAE Decode (Tiled)* in its place.
        """)  # fmt: skip
    return text_to_image(words, SDXL, "sdxl", empty(1024))


def sd35_text_to_image() -> Columns:
    words = note(240, """
        ## Text to image at 2048 px with Stable Diffusion 3.5

        Stable Diffusion 3.5 samples at 1024×1024, and **FMBoost Upscale Latent** takes its latent to
        2048×2048.

        - **model_name** ends in **sd3**: it serves Stable Diffusion 3 and 3.5, medium and large, whose
          latents are the same.
        - The checkpoint here is the medium one, with its text encoders in the file.
        - Out of memory at VAE Decode? Put *VAE Decode (Tiled)* in its place.
        """)  # fmt: skip
    size = empty(1024, "EmptySD3LatentImage")
    sampling = {"cfg": 4.5, "sampler_name": "euler", "scheduler": "sgm_uniform"}
    return text_to_image(words, SD35, "sd3", size, **sampling)


def flux_text_to_image() -> Columns:
    words = note(250, """
        ## Text to image at 2048 px with FLUX.1

        FLUX.1 schnell samples at 1024×1024 in four steps, and **FMBoost Upscale Latent** takes its latent to
        2048×2048.

        - **model_name** ends in **flux**: it serves FLUX.1 schnell, dev, Krea and Kontext, Chroma, Z-Image,
          and whatever else uses the VAE of FLUX.1 (not that of FLUX.2).
        - schnell was trained for **cfg** 1, where the negative prompt has no effect.
        - Out of memory at VAE Decode? Put *VAE Decode (Tiled)* in its place.
        """)  # fmt: skip
    size = empty(1024, "EmptySD3LatentImage")
    sampling = {"steps": 4, "cfg": 1, "sampler_name": "euler", "scheduler": "simple"}
    return text_to_image(words, FLUX, "flux", size, **sampling)


def lcm_sd15_4_steps() -> Columns:
    words = note(240, """
        ## 1024 px in four sampling steps and a boost

        The fastest way from a prompt: the LCM LoRA lets Stable Diffusion 1.5 sample in **4 steps** at
        512×512, and one evaluation of FMBoost makes 1024×1024 of it.

        - **lcm** in ModelSamplingDiscrete and as the sampler, **cfg** 1 to 2: so LCM was trained.
        - At cfg 1 the negative prompt has no effect, and sampling is twice as fast.
        - The LoRA's file has a common name: give it another if you have more of that name, and choose it in
          the node.
        """)  # fmt: skip
    weights, size, model = checkpoint(), empty(512), booster()
    lora = loader("LoraLoaderModelOnly", "lora_name", LCM, "loras", model=weights["MODEL"], strength_model=1)
    lcm = node("ModelSamplingDiscrete", model=lora["MODEL"], sampling="lcm", zsnr=False)
    texts = prompts(weights["CLIP"], LIGHTHOUSE)
    small = sample(lcm["MODEL"], texts, size, steps=4, cfg=1.5, sampler_name="lcm", scheduler="sgm_uniform")
    large = boost(model, small["LATENT"])
    image = decode(large, weights["VAE"])
    return [
        (380, [words, weights]), (380, [*texts, size]), (320, [lora, lcm, model]), (320, [small]),
        (330, [large]), (560, [image, save(image)]),
    ]  # fmt: skip


def cascade_to_2k_and_4k() -> Columns:
    words = note(240, """
        ## From 512 to 2048 and to 4096 px

        Above factor 2 the boost works in stages, each twice as large as the one before: two for 2K, three for
        4K.

        - The upper branch is ×4, the lower ×8. Bypass the lower (select, Ctrl+B) while you look for a
          picture.
        - **VAE Decode (Tiled)** keeps the memory small: at these sizes the VAE needs far more of it than the
          boost.
        - **tile_size** 0 lets FMBoost choose tiles by the free memory; tiles do not change the result.
        """)  # fmt: skip
    weights, size, model = checkpoint(), empty(512), booster()
    texts = prompts(weights["CLIP"], VALLEY)
    small = sample(weights["MODEL"], texts, size)
    to_2k = boost(model, small["LATENT"], factor=4, title="To 2048 px", tall=PREVIEWED)
    to_4k = boost(model, small["LATENT"], factor=8, title="To 4096 px")
    images = [decode(large, weights["VAE"], "VAEDecodeTiled", tile_size=1024) for large in (to_2k, to_4k)]
    saved = [save(images[0], 266, "FMBoost-2K", "2K"), save(images[1], 266, "FMBoost-4K", "4K")]
    columns = [(380, [words, weights]), (380, [*texts, size]), (320, [small, model])]
    return [
        *columns,
        (330, [to_2k, to_4k]),
        (320, [images[0], Beside(to_4k), images[1]]),
        (460, [saved[0], Beside(to_4k), saved[1]]),
    ]


def boost_a_picture() -> Columns:
    words = note(230, f"""
        ## Enlarge a picture through its latent

        Any picture of about 512 pixels. {TINY_VAE}; any VAE of Stable Diffusion 1.x or 2.x does as well, and
        better.

        The upper branch is core's own latent upscaling. **FMBoost Compare** shows both: left of the line
        core's, right of it FMBoost's. Where your ComfyUI has *Compare Images*, it shows them with a slider.
        """)  # fmt: skip
    picture = node("LoadImage", tall=360, image="example.png")
    vae, model = node("VAELoader", vae_name="taesd"), booster()
    latent = node("VAEEncode", pixels=picture["IMAGE"], vae=vae["VAE"])
    large = boost(model, latent["LATENT"])
    core = node("LatentUpscaleBy", samples=latent["LATENT"], upscale_method="bicubic", scale_by=2)
    images = [decode(each, vae["VAE"]) for each in (large, core)]
    compared = node(
        "FMBoostCompare", tall=520, title="Left: core, bicubic. Right: FMBoost", before=images[1]["IMAGE"],
        after=images[0]["IMAGE"], split=0.5,
    )  # fmt: skip
    # What shows a live preview grows: nothing is below it.
    return [
        (340, [words, picture]), (300, [vae, latent, model]), (330, [core, large]),
        (240, [images[1], Beside(large), images[0]]),
        (460, [save(images[0], 480), compared]),
    ]  # fmt: skip


def boost_then_refine() -> Columns:
    words = note(340, """
        ## Boost, then refine

        For texture of the checkpoint's own making: a short second pass over the boosted latent, which starts
        close to where it shall end.

        - The boosted latent is **clean**, so the second KSampler adds noise up to its **first sigma**, which
          follows from *denoise* and *scheduler*. With *karras*, denoise 0.2, 0.3 and 0.35 start at sigma
          0.15, 0.31 and 0.45; *normal* starts two to three times as high.
        - **denoise 0.2 to 0.35** repaints texture only. Higher changes what is in the picture, and at 1024 px
          Stable Diffusion 1.5 then likes to repeat it.
        - Boost at **detail 0** here: the sampler brings the texture, and texture invented twice is too much.
          No refining? Take detail 0.3.
        - The pass works at full size: its steps cost four times those of the first.
        """)  # fmt: skip
    weights, size, model = checkpoint(), empty(512), booster()
    texts = prompts(weights["CLIP"], LIGHTHOUSE)
    small = sample(weights["MODEL"], texts, size)
    large = boost(model, small["LATENT"], detail=0)
    fine = sample(weights["MODEL"], texts, large, title="Refine", seed=43, steps=12, denoise=0.3)
    image = decode(fine, weights["VAE"])
    columns = [(400, [words, weights]), (380, [*texts, size]), (320, [small, model])]
    return [*columns, (330, [large]), (320, [fine, image]), (560, [save(image)])]


def train_a_booster() -> Columns:
    words = note(310, f"""
        ## Train your own booster

        For latents of a family or a style that no model fits well. **FMBoost Make Pairs** encodes crops of
        your images with your VAE; **FMBoost Train** learns from them, starting from the connected model (take
        it away to train a new one); **FMBoost Save Model** puts the result where Load FMBoost Model finds it
        (press R).

        - One image is here to show the way: load hundreds, for example with core's *Load Image Dataset from
          Folder*. They must have 512 pixels on both sides.
        - A run goes on where it was cancelled.
        - {TINY_VAE}.
        """)  # fmt: skip
    picture = node("LoadImage", tall=340, image="example.png")
    scaled = node(
        "ImageScale", image=picture["IMAGE"], upscale_method="lanczos", width=1024, height=1024, crop="center"
    )
    vae, model = node("VAELoader", vae_name="taesd"), booster()
    pairs = node(
        "FMBoostMakePairs", images=scaled["IMAGE"], vae=vae["VAE"], family="sd15", name="my_pairs", crops=4,
        seed=0,
    )  # fmt: skip
    trained = node(
        "FMBoostTrain", pairs=pairs["PAIRS"], model=model["FMBOOST_MODEL"], name="my_booster", steps=200,
        batch=2, learning_rate=1e-4, texture=0.5, decoder_loss=True, seed=0, sample_every=50, width=192,
        depth=6,
    )  # fmt: skip
    saved = node("FMBoostSaveModel", model=trained["FMBOOST_MODEL"], name="my_booster")
    losses = node("LossGraphNode", tall=380, loss=trained["LOSS_MAP"], filename_prefix="loss_graph")
    return [
        (360, [words, picture]), (300, [vae, scaled]), (320, [pairs, model]), (340, [trained]),
        (420, [saved, losses]),
    ]  # fmt: skip


WORKFLOWS: list[Callable[[], Columns]] = [
    sd15_text_to_image, lcm_sd15_4_steps, sdxl_text_to_image, sd35_text_to_image, flux_text_to_image,
    cascade_to_2k_and_4k, boost_a_picture, boost_then_refine, train_a_booster,
]  # fmt: skip


def boost_and_decode() -> tuple[Columns, list[Node]]:
    """The blueprint's canvas: what stands for the outside, and what goes into the subgraph."""
    model, latent, vae = booster(), empty(512), node("VAELoader")
    # The VAE goes to both: models that upsample in pixel space need it.
    large = boost(model, latent["LATENT"], vae=vae["VAE"])
    image = decode(large, vae["VAE"])
    shown = node("PreviewImage", images=image["IMAGE"])
    return [(300, [model, latent, vae]), (330, [large]), (240, [image]), (240, [shown])], [large, image]
