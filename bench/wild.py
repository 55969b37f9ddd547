"""Models of libraries beyond the zoos, each with what it is called with: a factory of each name, as `fxcost trace bench.wild:NAME` takes it."""

# pyright: basic, reportMissingImports=false
# The libraries of the extra `wild` are typed in part, or not at all, and are not installed for tests.

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import torch
from torch import nn

from fxcost.models.zoos import zoo_module

zoo_module("torchvision")  # many of them import it, whose compiled half may be missing

Given = tuple[nn.Module, Any]
"""A model, and its arguments by place or by name."""


def image(size: int = 224, channels: int = 3, batch: int = 2) -> torch.Tensor:
    return torch.zeros(batch, channels, size, size)


def volume(size: int = 64, channels: int = 1) -> torch.Tensor:
    return torch.zeros(1, channels, size, size, size)


def tokens(length: int = 64, batch: int = 2) -> torch.Tensor:
    return torch.zeros(batch, length, dtype=torch.int64)


def of(place: str, **settings: Any) -> Any:
    """A class or function of a library, called with these settings."""
    module, _, name = place.rpartition(".")
    return getattr(importlib.import_module(module), name)(**settings)


def rows(length: int, width: int, batch: int = 2) -> torch.Tensor:
    return torch.zeros(batch, length, width)


# diffusers

STEP = torch.zeros(2)


def diffusers(name: str, settings: Mapping[str, Any], **inputs: Any) -> Callable[[], Given]:
    def factory() -> Given:
        model = of(f"diffusers.{name}", **settings)
        plain = {"return_dict": False} if "return_dict" in inspect.signature(model.forward).parameters else {}
        return model, {**inputs, **plain}

    return factory


LATENT = torch.zeros(2, 4, 64, 64)
TEXT = rows(77, 768)
DIFFUSERS: dict[str, Callable[[], Given]] = {
    "UNet2DModel": diffusers("UNet2DModel", {"sample_size": 64}, sample=image(64), timestep=STEP),
    "UNet2DConditionModel, Stable Diffusion 1.5": diffusers(
        "UNet2DConditionModel", {"cross_attention_dim": 768, "attention_head_dim": 8}, sample=LATENT, timestep=STEP, encoder_hidden_states=TEXT
    ),
    "ControlNetModel": diffusers(
        "ControlNetModel", {"cross_attention_dim": 768}, sample=LATENT, timestep=STEP, encoder_hidden_states=TEXT, controlnet_cond=image(512)
    ),
    "AutoencoderKL": diffusers(
        "AutoencoderKL",
        {"block_out_channels": (128, 256, 512, 512), "down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4, "layers_per_block": 2},
        sample=image(256),
    ),
    "AutoencoderTiny": diffusers("AutoencoderTiny", {}, sample=image(256)),
    "VQModel": diffusers("VQModel", {}, sample=image(64)),
    "AutoencoderDC": diffusers("AutoencoderDC", {}, sample=image(256)),
    "AsymmetricAutoencoderKL": diffusers("AsymmetricAutoencoderKL", {}, sample=image(64)),
    "DiTTransformer2DModel": diffusers(
        "DiTTransformer2DModel", {"num_layers": 4}, hidden_states=torch.zeros(2, 4, 32, 32), timestep=STEP, class_labels=torch.zeros(2, dtype=torch.int64)
    ),
    "PixArtTransformer2DModel": diffusers(
        "PixArtTransformer2DModel", {"num_layers": 4, "caption_channels": 768, "sample_size": 64},
        hidden_states=LATENT, timestep=STEP, encoder_hidden_states=TEXT, added_cond_kwargs={"resolution": None, "aspect_ratio": None},
    ),
    "SD3Transformer2DModel": diffusers(
        "SD3Transformer2DModel", {"num_layers": 4, "joint_attention_dim": 768},
        hidden_states=torch.zeros(2, 16, 64, 64), timestep=STEP, encoder_hidden_states=TEXT, pooled_projections=torch.zeros(2, 2048),
    ),
    "FluxTransformer2DModel": diffusers(
        "FluxTransformer2DModel", {"num_layers": 2, "num_single_layers": 4, "joint_attention_dim": 768},
        hidden_states=rows(256, 64), encoder_hidden_states=TEXT, pooled_projections=torch.zeros(2, 768), timestep=STEP,
        img_ids=torch.zeros(256, 3), txt_ids=torch.zeros(77, 3),
    ),
    "AuraFlowTransformer2DModel": diffusers(
        "AuraFlowTransformer2DModel", {"num_mmdit_layers": 2, "num_single_dit_layers": 2, "joint_attention_dim": 768, "caption_projection_dim": 3072},
        hidden_states=LATENT, encoder_hidden_states=TEXT, timestep=STEP,
    ),
    "SanaTransformer2DModel": diffusers(
        "SanaTransformer2DModel", {"num_layers": 4, "caption_channels": 768}, hidden_states=torch.zeros(2, 32, 32, 32), encoder_hidden_states=TEXT, timestep=STEP
    ),
    "HunyuanVideoTransformer3DModel": diffusers(
        "HunyuanVideoTransformer3DModel", {"num_layers": 2, "num_single_layers": 2, "num_refiner_layers": 1, "text_embed_dim": 768, "pooled_projection_dim": 768},
        hidden_states=torch.zeros(1, 16, 4, 32, 32), timestep=torch.zeros(1), encoder_hidden_states=rows(77, 768, 1),
        encoder_attention_mask=torch.zeros(1, 77, dtype=torch.bool), pooled_projections=torch.zeros(1, 768), guidance=torch.zeros(1),
    ),
    "WanTransformer3DModel": diffusers(
        "WanTransformer3DModel", {"num_layers": 4, "text_dim": 768}, hidden_states=torch.zeros(2, 16, 4, 32, 32), timestep=STEP, encoder_hidden_states=TEXT
    ),
    "LTXVideoTransformer3DModel": diffusers(
        "LTXVideoTransformer3DModel", {"num_layers": 4, "caption_channels": 768}, hidden_states=rows(256, 128), encoder_hidden_states=TEXT,
        timestep=STEP, encoder_attention_mask=torch.zeros(2, 77), num_frames=4, height=8, width=8,
    ),
    "CogVideoXTransformer3DModel": diffusers(
        "CogVideoXTransformer3DModel", {"num_layers": 4, "text_embed_dim": 768, "max_text_seq_length": 77},
        hidden_states=torch.zeros(2, 13, 16, 60, 90), encoder_hidden_states=TEXT, timestep=STEP,
    ),
    "UNet1DModel": diffusers(
        "UNet1DModel", {"in_channels": 14, "out_channels": 14, "down_block_types": ("DownResnetBlock1D",) * 2, "up_block_types": ("UpResnetBlock1D",), "block_out_channels": (32, 64), "mid_block_type": "MidResTemporalBlock1D", "out_block_type": "OutConv1DBlock", "extra_in_channels": 0, "time_embedding_type": "positional", "use_timestep_embedding": True, "act_fn": "mish"},
        sample=torch.zeros(2, 14, 128), timestep=STEP,
    ),
    "UNet3DConditionModel": diffusers(
        "UNet3DConditionModel", {"cross_attention_dim": 768}, sample=torch.zeros(2, 4, 4, 32, 32), timestep=STEP, encoder_hidden_states=TEXT
    ),
    "UVit2DModel": diffusers(
        "UVit2DModel", {"num_hidden_layers": 4, "sample_size": 32}, input_ids=torch.zeros(2, 32, 32, dtype=torch.int64), encoder_hidden_states=TEXT,
        pooled_text_emb=torch.zeros(2, 768), micro_conds=torch.zeros(2, 5),
    ),
    "PriorTransformer": diffusers(
        "PriorTransformer", {"num_layers": 4}, hidden_states=torch.zeros(2, 768), timestep=STEP, proj_embedding=torch.zeros(2, 768), encoder_hidden_states=TEXT
    ),
}  # fmt: skip

# Ultralytics


def yolo(kind: str, config: str, size: int = 320) -> Callable[[], Given]:
    def factory() -> Given:
        return of(f"ultralytics.nn.tasks.{kind}", cfg=f"{config}.yaml", verbose=False), (image(size),)

    return factory


ULTRALYTICS = {
    name: yolo(kind, name)
    for kind, names in {
        "DetectionModel": ("yolov3-tiny", "yolov5n", "yolov6n", "yolov8n", "yolov9t", "yolov10n", "yolo11n", "yolo12n", "yolo26n", "yolov8n-ghost", "yolov8n-p2"),
        "SegmentationModel": ("yolov8n-seg", "yolo11n-seg"),
        "PoseModel": ("yolov8n-pose", "yolo11n-pose"),
        "OBBModel": ("yolov8n-obb", "yolo11n-obb"),
        "ClassificationModel": ("yolov8n-cls", "yolo11n-cls"),
        "RTDETRDetectionModel": ("rtdetr-l", "yolov8n-rtdetr"),
    }.items()
    for name in names
}  # fmt: skip

# Segmentation models


def segmentation(kind: str, encoder: str, **settings: Any) -> Callable[[], Given]:
    def factory() -> Given:
        model = of(
            f"segmentation_models_pytorch.{kind}", encoder_name=encoder, encoder_weights=None, classes=4, **settings
        )
        return model, (image(224),)

    return factory


SEGMENTATION = {
    **{
        f"{kind}, resnet34": segmentation(kind, "resnet34")
        for kind in ("Unet", "UnetPlusPlus", "MAnet", "Linknet", "FPN", "PSPNet", "DeepLabV3", "DeepLabV3Plus", "PAN", "UPerNet", "Segformer")
    },
    "Unet, mit_b0": segmentation("Unet", "mit_b0"),
    "FPN, mit_b0": segmentation("FPN", "mit_b0"),
    "Unet, efficientnet-b0": segmentation("Unet", "efficientnet-b0"),
    "Unet, timm-mobilenetv3_small_100": segmentation("Unet", "timm-mobilenetv3_small_100"),
    "DPT, tu-vit_base_patch16_224": segmentation("DPT", "tu-vit_base_patch16_224.augreg_in21k"),
}  # fmt: skip

# MONAI


def monai(name: str, example: torch.Tensor, **settings: Any) -> Callable[[], Given]:
    return lambda: (of(f"monai.networks.nets.{name}", **settings), (example,))


THREE = {"spatial_dims": 3, "in_channels": 1, "out_channels": 2}
VOLUME: Any = "x: float32[B,1,D,H,W]"
MONAI = {
    "SegResNet, sizes free": monai("SegResNet", VOLUME, **THREE),
    "DynUNet, sizes free": monai("DynUNet", VOLUME, **THREE, kernel_size=[3, 3, 3], strides=[1, 2, 2], upsample_kernel_size=[2, 2]),
    "UNet, sizes free": monai("UNet", VOLUME, **THREE, channels=(16, 32, 64, 128), strides=(2, 2, 2), num_res_units=2),
    "UNet": monai("UNet", volume(), **THREE, channels=(16, 32, 64, 128), strides=(2, 2, 2), num_res_units=2),
    "BasicUNet": monai("BasicUNet", volume(), **THREE),
    "BasicUNetPlusPlus": monai("BasicUNetPlusPlus", volume(32), **THREE),
    "DynUNet": monai("DynUNet", volume(), **THREE, kernel_size=[3, 3, 3], strides=[1, 2, 2], upsample_kernel_size=[2, 2]),
    "SegResNet": monai("SegResNet", volume(), **THREE),
    "SegResNetDS": monai("SegResNetDS", volume(), **THREE),
    "UNETR": monai("UNETR", volume(), in_channels=1, out_channels=2, img_size=(64, 64, 64)),
    "SwinUNETR": monai("SwinUNETR", volume(), in_channels=1, out_channels=2, feature_size=24),
    "VNet": monai("VNet", volume(), **THREE),
    "AttentionUnet": monai("AttentionUnet", volume(), **THREE, channels=(16, 32, 64), strides=(2, 2)),
    "HighResNet": monai("HighResNet", volume(), **THREE),
    "DenseNet121": monai("DenseNet121", volume(), **THREE),
    "EfficientNetBN": monai("EfficientNetBN", image(), model_name="efficientnet-b0", pretrained=False),
    "resnet18": monai("resnet18", volume(), spatial_dims=3, n_input_channels=1, num_classes=2),
    "SEResNet50": monai("SEResNet50", volume(), spatial_dims=3, in_channels=1),
    "ViT": monai("ViT", volume(), in_channels=1, img_size=64, patch_size=16, classification=True),
    "AutoEncoder": monai("AutoEncoder", volume(), **THREE, channels=(8, 16, 32), strides=(2, 2, 2)),
    "RegUNet": monai("RegUNet", volume(), **THREE, num_channel_initial=16, depth=3),
    "MILModel": lambda: (of("monai.networks.nets.MILModel", num_classes=4, pretrained=False, mil_mode="att"), (torch.zeros(2, 4, 3, 224, 224),)),
    "DiffusionModelUNet": lambda: (
        of("monai.networks.nets.DiffusionModelUNet", spatial_dims=2, in_channels=1, out_channels=1, channels=(32, 64), attention_levels=(False, True), num_res_blocks=1, num_head_channels=32),
        (image(64, 1), torch.zeros(2)),
    ),
    "AutoencoderKL": monai("AutoencoderKL", image(64, 1), spatial_dims=2, in_channels=1, out_channels=1, channels=(32, 64, 64), attention_levels=(False, False, True), num_res_blocks=1, latent_channels=4),
}  # fmt: skip

# vit-pytorch

VIT = {"image_size": 256, "patch_size": 32, "num_classes": 1000, "dim": 1024, "depth": 4, "heads": 8, "mlp_dim": 2048}
CAIT = {key: VIT[key] for key in VIT}


def vit(
    place: str, *settings: Mapping[str, Any], example: torch.Tensor | None = None, **more: Any
) -> Callable[[], Given]:
    def factory() -> Given:
        named = {name: value for each in settings for name, value in each.items()}
        return of(f"vit_pytorch.{place}", **named, **more), (image(256) if example is None else example,)

    return factory


def without(*names: str) -> dict[str, Any]:
    return {name: value for name, value in VIT.items() if name not in names}


VIT_PYTORCH = {
    "ViT": vit("ViT", VIT),
    "SimpleViT": vit("SimpleViT", VIT),
    "simple_vit_with_register_tokens": vit("simple_vit_with_register_tokens.SimpleViT", VIT, num_register_tokens=4),
    "DeepViT": vit("deepvit.DeepViT", VIT),
    "CaiT": vit("cait.CaiT", VIT, cls_depth=2),
    "CrossViT": vit("cross_vit.CrossViT", image_size=256, num_classes=1000, depth=2, sm_dim=192, sm_patch_size=16, lg_dim=384, lg_patch_size=64),
    "CvT": vit("cvt.CvT", num_classes=1000),
    "LeViT": vit("levit.LeViT", image_size=224, num_classes=1000, stages=3, dim=(256, 384, 512), depth=4, heads=(4, 6, 8), mlp_mult=2, example=image()),
    "PiT": vit("pit.PiT", without("depth", "dim"), dim=256, depth=(3, 3, 3)),
    "T2TViT": vit("t2t.T2TViT", dim=512, image_size=224, depth=5, heads=8, mlp_dim=512, num_classes=1000, example=image()),
    "Twins-SVT": vit("twins_svt.TwinsSVT", num_classes=1000, example=image()),
    "CrossFormer": vit("crossformer.CrossFormer", num_classes=1000, dim=(64, 128, 256, 512), depth=(2, 2, 2, 2), global_window_size=(8, 4, 2, 1), example=image()),
    "RegionViT": vit("regionvit.RegionViT", num_classes=1000, dim=(64, 128, 256, 512), depth=(2, 2, 2, 2), window_size=7, example=image()),
    "NesT": vit("nest.NesT", image_size=224, patch_size=4, dim=96, heads=3, num_hierarchies=3, block_repeats=(2, 2, 4), num_classes=1000, example=image()),
    "MobileViT": vit("mobile_vit.MobileViT", image_size=(256, 256), dims=[96, 120, 144], channels=[16, 32, 48, 48, 64, 64, 80, 80, 96, 96, 384], num_classes=1000),
    "MaxViT": vit("max_vit.MaxViT", num_classes=1000, dim=96, dim_head=32, depth=(2, 2, 2, 2), window_size=7, example=image()),
    "XCiT": vit("xcit.XCiT", VIT, cls_depth=2),
    "CCT": vit("cct.CCT", img_size=(224, 448), embedding_dim=384, n_conv_layers=2, kernel_size=7, stride=2, padding=3, pooling_kernel_size=3, pooling_stride=2, pooling_padding=1, num_layers=4, num_heads=6, mlp_ratio=3.0, num_classes=1000, positional_embedding="learnable", example=torch.zeros(2, 3, 224, 448)),
    "SepViT": vit("sep_vit.SepViT", num_classes=1000, dim=32, dim_head=32, heads=(1, 2, 4, 8), depth=(1, 2, 6, 2), window_size=7, example=image()),
    "ScalableViT": vit("scalable_vit.ScalableViT", num_classes=1000, dim=64, heads=(2, 4, 8, 16), depth=(2, 2, 2, 2), ssa_dim_key=(40, 40, 40, 32), reduction_factor=(8, 4, 2, 1), window_size=(64, 32, None, None)),
    "vit_for_small_dataset": vit("vit_for_small_dataset.ViT", VIT),
    "parallel_vit": vit("parallel_vit.ViT", VIT, num_parallel_branches=2),
    "ViT, 3d": lambda: (
        of("vit_pytorch.vit_3d.ViT", image_size=128, frames=16, image_patch_size=16, frame_patch_size=2, num_classes=1000, dim=512, depth=4, heads=8, mlp_dim=1024),
        (torch.zeros(2, 3, 16, 128, 128),),
    ),
    "ViViT": lambda: (
        of("vit_pytorch.vivit.ViViT", image_size=128, frames=16, image_patch_size=16, frame_patch_size=2, num_classes=1000, dim=512, spatial_depth=2, temporal_depth=2, heads=8, mlp_dim=1024),
        (torch.zeros(2, 3, 16, 128, 128),),
    ),
}  # fmt: skip

# PyTorch Geometric


def graph(name: str, **settings: Any) -> Callable[[], Given]:
    def factory() -> Given:
        model = of(f"torch_geometric.nn.{name}", **settings)
        return model, ("x: float32[N,64]", "edge_index: int64[2,E]")

    return factory


NETWORK = {"in_channels": 64, "hidden_channels": 64, "num_layers": 3, "out_channels": 16}
LAYER = {"in_channels": 64, "out_channels": 16}
GEOMETRIC = {
    **{name: graph(name, **NETWORK) for name in ("GCN", "GraphSAGE", "GIN", "GAT", "EdgeCNN")},
    **{name: graph(name, **LAYER) for name in ("GCNConv", "GATConv", "GATv2Conv", "SAGEConv", "GraphConv", "TransformerConv", "LEConv")},
    "ChebConv": graph("ChebConv", **LAYER, K=3),
}  # fmt: skip

# x-transformers


def transformer(layers: str = "Decoder", **settings: Any) -> Callable[[], Given]:
    def factory() -> Given:
        inner = of(f"x_transformers.{layers}", dim=512, depth=4, heads=8, **settings)
        return of("x_transformers.TransformerWrapper", num_tokens=20000, max_seq_len=1024, attn_layers=inner), (
            tokens(),
        )

    return factory


X_TRANSFORMERS = {
    "a decoder": transformer(),
    "an encoder": transformer("Encoder"),
    "rotary positions": transformer(rotary_pos_emb=True),
    "ALiBi": transformer(alibi_pos_bias=True, alibi_num_heads=4),
    "relative positions": transformer(rel_pos_bias=True),
    "grouped heads": transformer(attn_kv_heads=2),
    "flash attention": transformer(attn_flash=True),
    "gated linear units": transformer(ff_glu=True, ff_swish=True),
    "RMS norm": transformer(use_rmsnorm=True),
    "talking heads": transformer(attn_pre_talking_heads=True),
    "an image encoder": lambda: (
        of("x_transformers.ViTransformerWrapper", image_size=256, patch_size=32, num_classes=1000, attn_layers=of("x_transformers.Encoder", dim=512, depth=4, heads=8)),
        (image(256),),
    ),
}  # fmt: skip

# OpenCLIP


def clip(name: str, size: int = 224, length: int = 77) -> Callable[[], Given]:
    return lambda: (of("open_clip.create_model", model_name=name, pretrained=None), (image(size), tokens(length)))


OPEN_CLIP = {
    "ViT-B-32": clip("ViT-B-32"),
    "ViT-B-16": clip("ViT-B-16"),
    "RN50": clip("RN50"),
    "convnext_base": clip("convnext_base"),
    "coca_ViT-B-32": clip("coca_ViT-B-32", length=76),
    "ViT-B-16-SigLIP": clip("ViT-B-16-SigLIP", length=64),
    "MobileCLIP-S1": clip("MobileCLIP-S1", 256),
}

# Speech

TORCHAUDIO = "torchaudio"


def without_torchaudio() -> None:
    """Both libraries of speech import torchaudio, whose builds want another torch, and their networks use none of it."""
    for name in (
        TORCHAUDIO,
        "torchaudio.functional",
        "torchaudio.transforms",
        "torchaudio.compliance",
        "torchaudio.compliance.kaldi",
    ):
        sys.modules.setdefault(name, _Absent(name))


class _Absent(ModuleType):
    """Has whatever is asked of it, as far as an import goes."""

    def __getattr__(self, name: str) -> Any:
        known = {"__version__": "2.0", "__path__": []}
        if name.startswith("__") and name not in known:
            raise AttributeError(name)
        return known.get(name) or _Absent(f"{self.__name__}.{name}")


def speech(place: str, example: Any, **settings: Any) -> Callable[[], Given]:
    def factory() -> Given:
        without_torchaudio()
        return of(place, **settings), (example,)

    return factory


def encodec(model: str) -> Callable[[], Given]:
    def factory() -> Given:
        without_torchaudio()
        kind: Any = importlib.import_module("encodec").EncodecModel
        made = getattr(kind, model)(pretrained=False)
        made.set_target_bandwidth(6.0)
        return made, (torch.zeros(2, 2 if "48" in model else 1, 48000),)

    return factory


MELS = rows(200, 80)
SPEECH = {
    "EnCodec, 24 kHz": encodec("encodec_model_24khz"),
    "EnCodec, 48 kHz": encodec("encodec_model_48khz"),
    "ECAPA-TDNN": speech("speechbrain.lobes.models.ECAPA_TDNN.ECAPA_TDNN", MELS, input_size=80),
    "Xvector": speech("speechbrain.lobes.models.Xvector.Xvector", MELS, in_channels=80),
    "ResNet": speech("speechbrain.lobes.models.ResNet.ResNet", MELS, input_size=80),
    "CRDNN": speech("speechbrain.lobes.models.CRDNN.CRDNN", MELS, input_size=80),
    "DPRNN block": speech("speechbrain.lobes.models.dual_path.Dual_Path_Model", torch.zeros(2, 64, 400), in_channels=64, out_channels=64, intra_model=nn.Identity(), inter_model=nn.Identity(), num_layers=1, K=50),
    "conformer": speech("speechbrain.lobes.models.transformer.Conformer.ConformerEncoder", rows(200, 144), num_layers=2, d_model=144, d_ffn=576, nhead=4, attention_type="regularMHA"),
}  # fmt: skip

# PEFT and torchao


def causal() -> nn.Module:
    transformers = importlib.import_module("transformers")
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(hidden_size=512, intermediate_size=1024, num_hidden_layers=2, num_attention_heads=8, num_key_value_heads=4, vocab_size=1000)
    )  # fmt: skip


def adapted(config: str, **settings: Any) -> Callable[[], Given]:
    def factory() -> Given:
        peft = importlib.import_module("peft")
        return peft.get_peft_model(causal(), getattr(peft, config)(task_type="CAUSAL_LM", **settings)), {
            "input_ids": tokens(),
            "use_cache": False,
        }

    return factory


def converted(config: str) -> Callable[[], Given]:
    def factory() -> Given:
        quantization = importlib.import_module("torchao.quantization")
        model = nn.Sequential(nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 256)).to(torch.bfloat16)
        quantization.quantize_(model, getattr(quantization, config)())
        return model, (torch.zeros(2, 256, dtype=torch.bfloat16),)

    return factory


TARGETS = {"target_modules": ["q_proj", "v_proj"]}
PEFT = {
    "LoRA": adapted("LoraConfig", **TARGETS),
    "IA3": adapted("IA3Config", target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"]),
    "LoHa": adapted("LoHaConfig", **TARGETS),
    "OFT": adapted("OFTConfig", **TARGETS),
    "prompts": adapted("PromptTuningConfig", num_virtual_tokens=8),
}
TORCHAO = {name: converted(name) for name in ("Int8WeightOnlyConfig", "Int8DynamicActivationInt8WeightConfig")}

LIBRARIES: Mapping[str, Mapping[str, Callable[[], Given]]] = {
    "diffusers": DIFFUSERS,
    "ultralytics": ULTRALYTICS,
    "segmentation-models-pytorch": SEGMENTATION,
    "monai": MONAI,
    "vit-pytorch": VIT_PYTORCH,
    "torch-geometric": GEOMETRIC,
    "x-transformers": X_TRANSFORMERS,
    "open_clip": OPEN_CLIP,
    "encodec, speechbrain": SPEECH,
    "peft": PEFT,
    "torchao": TORCHAO,
}


def sizes_of(library: str, model: str) -> Mapping[str, int]:
    """The sizes of a model whose inputs are given by symbols."""
    if library == "torch-geometric":
        return {"N": 100, "E": 400}
    return dict.fromkeys("DHW", 64) if "sizes free" in model else {}


def __getattr__(name: str) -> Callable[[], Given]:
    """The factory ``LIBRARY/MODEL``."""
    library, _, model = name.partition("/")
    try:
        return LIBRARIES[library][model]
    except KeyError:
        raise AttributeError(name) from None
