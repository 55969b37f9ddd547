"""Arithmetic of quantizing and dequantizing values, by operators of torch and of its exported programs."""

import torch

from fxcost.ops.rules import per_input, per_output

aten = torch.ops.aten

per_output(
    7, aten.fake_quantize_per_tensor_affine, aten.fake_quantize_per_channel_affine,
    aten._fake_quantize_per_tensor_affine_cachemask_tensor_qparams, aten.fake_quantize_per_tensor_affine_cachemask,
    aten.fake_quantize_per_channel_affine_cachemask,
    reason="multiply, round, add the zero point, two bounds; subtract the zero point, multiply",
)  # fmt: skip
per_output(
    5, aten.quantize_per_tensor, aten.quantize_per_channel,
    "quantized_decomposed.quantize_per_tensor", "quantized_decomposed.quantize_per_channel",
    "torchao.quantize_affine",
    reason="multiply, round, add the zero point, two bounds",
)  # fmt: skip
per_output(
    2, "quantized_decomposed.dequantize_per_tensor", "quantized_decomposed.dequantize_per_channel",
    "torchao.dequantize_affine",
    reason="subtract the zero point, multiply",
)  # fmt: skip
per_input(
    2, "quantized_decomposed.choose_qparams", "quantized_decomposed.choose_qparams_symmetric", "torchao.choose_qparams_affine",
    reason="a comparison for the least and one for the greatest of each element; what follows once for all that share a scale is not counted",
)  # fmt: skip
