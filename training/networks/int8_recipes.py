"""How each network's convolutions are quantised; docs/int8.md gives the reasons.

Imports no PyTorch.
"""

from dataclasses import replace

from training.networks.entry import Int8Recipe, recipe_of_parts

_DECODER_INPUTS = (
    *("deconv4", "deconv3", "deconv2"),
    *("predict_flow5", "predict_flow4", "predict_flow3", "predict_flow2"),
)
_FIRST_LAYERS = ("conv2", "conv3", "conv3_1")
FLOWNETC = Int8Recipe(
    decoder_inputs=_DECODER_INPUTS,
    scaled_layers=_DECODER_INPUTS,
    float_layers=(
        "predict_flow6",
        *("upsampled_flow6_to_5", "upsampled_flow5_to_4"),
        *("upsampled_flow4_to_3", "upsampled_flow3_to_2"),
    ),
)
FLOWNETS = replace(
    FLOWNETC,
    scaled_layers=(*_DECODER_INPUTS, *_FIRST_LAYERS),
    unclipped_layers=("conv6_1", *_DECODER_INPUTS),
    residual_layers=("deconv4", "deconv3", "deconv2"),
)

_PYRAMID_DECODER_INPUTS = (
    *("deconv3", "deconv2"),
    *("predict_flow4", "predict_flow3", "predict_flow2"),
)
PYRAMID = Int8Recipe(
    decoder_inputs=_PYRAMID_DECODER_INPUTS,
    scaled_layers=(
        *_PYRAMID_DECODER_INPUTS,
        *_FIRST_LAYERS,
        *("refinement8.context", "refinement4.context"),
    ),
    float_layers=(
        *("predict_flow5", "refinement8.predict_residual"),
        *("upsampled_flow5_to_4", "upsampled_flow4_to_3", "upsampled_flow3_to_2"),
        *("refinement8.left", "refinement4.left"),
        "refinement4.predict_residual",
    ),
)
# so_far reads flow, whose values are no images'; the errors of each pass are the next one's input,
# where the finest corrections count most.
COARSE_TO_FINE = replace(
    PYRAMID,
    float_layers=("so_far", "refinement8.hidden", "refinement4.hidden", *PYRAMID.float_layers),
)
_SD_DECODER_INPUTS = (
    *("deconv4", "deconv3", "deconv2"),
    *("inter_conv5", "inter_conv4", "inter_conv3", "inter_conv2"),
)
FLOWNETSD = replace(FLOWNETC, decoder_inputs=_SD_DECODER_INPUTS, scaled_layers=_SD_DECODER_INPUTS)

# The first layer of a FlowNetS in a stack reads images and flow, whose magnitudes differ: one scale
# for both would round the images. So does the first layer of the fusion.
_IN_STACK = replace(FLOWNETS, float_layers=("conv1", *FLOWNETS.float_layers))
_FUSION_DECODER_INPUTS = ("deconv0", "inter_conv1", "inter_conv0")
_FUSION = Int8Recipe(
    decoder_inputs=_FUSION_DECODER_INPUTS,
    scaled_layers=_FUSION_DECODER_INPUTS,
    float_layers=(
        *("conv0", "predict_flow2", "predict_flow1", "predict_flow0"),
        *("upsampled_flow2_to_1", "upsampled_flow1_to_0"),
    ),
)
_CS_PARTS = {"flownetc": FLOWNETC, "flownets_1": _IN_STACK}
_CSS_PARTS = {**_CS_PARTS, "flownets_2": _IN_STACK}
FLOWNETCS = recipe_of_parts(_CS_PARTS)
FLOWNETCSS = recipe_of_parts(_CSS_PARTS)
FLOWNET2 = recipe_of_parts({**_CSS_PARTS, "flownets_d": FLOWNETSD, "flownetfusion": _FUSION})
