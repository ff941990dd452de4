"""From the names of this project's networks to those of open-mmlab/mmflow."""

import re

_STACKED = {
    "flownetc": "flownetC",
    "flownets_1": "flownetS1",
    "flownets_2": "flownetS2",
    "flownets_d": "flownetSD",
    "flownetfusion": "flownet_fusion",
}
# Coarsest level of the networks whose finer flow heads follow an `inter_conv`.
_COARSEST = {"flownetsd": 6, "flownets_d": 6, "flownetfusion": 2}
_RAFT_RULES = (
    (r"^fnet\.", "encoder."),
    (r"^cnet\.", "context."),
    (r"\.layer(\d)\.", r".res_layer\1."),
    (r"\.norm(\d)\.", r".bn\1."),
    (r"^update_block\.encoder\.conv\.", "decoder.encoder.out_net.0.conv."),
    (r"^update_block\.encoder\.convc1\.", "decoder.encoder.corr_net.0.conv."),
    (r"^update_block\.encoder\.convc2\.", "decoder.encoder.corr_net.1.conv."),
    (r"^update_block\.encoder\.convf1\.", "decoder.encoder.flow_net.0.conv."),
    (r"^update_block\.encoder\.convf2\.", "decoder.encoder.flow_net.1.conv."),
    (r"^update_block\.gru\.conv([zrq])1\.", r"decoder.gru.conv_\1.0.conv."),
    (r"^update_block\.gru\.conv([zrq])2\.", r"decoder.gru.conv_\1.1.conv."),
    (r"^update_block\.flow_head\.conv1\.", "decoder.flow_pred.layers.0.conv."),
    (r"^update_block\.flow_head\.conv2\.", "decoder.flow_pred.predict_layer."),
    (r"^update_block\.mask\.0\.", "decoder.mask_pred.layers.0.conv."),
    (r"^update_block\.mask\.2\.", "decoder.mask_pred.predict_layer."),
)


def raft_name(name: str) -> str:
    """Return mmflow's name of a tensor of RAFT."""
    for pattern, replacement in _RAFT_RULES:
        name = re.sub(pattern, replacement, name)
    return name


def flownet_name(network: str, name: str) -> str:
    """Return mmflow's name of a tensor of a FlowNet or of a stack of them."""
    layer, _, kind = name.rpartition(".")
    net, _, inner = layer.partition(".")
    if net not in _STACKED:
        return f"{_layer(network, layer)}.{kind}"
    inside = "flownetCSS." if network == "flownet2" and net in list(_STACKED)[:3] else ""
    return f"{inside}{_STACKED[net]}.{_layer(net, inner)}.{kind}"


def _layer(net: str, layer: str) -> str:
    if layer == "conv_redir.0":
        return "corr_encoder.conv_redir.conv"
    if match := re.fullmatch(r"conv(\d)(_1)?\.0", layer):
        return _convolution(net, int(match[1]), 1 if match[2] else 0)
    shift = 1 if net == "flownetfusion" else 0  # its levels are numbered from 1 there

    def level(number: str) -> str:
        return f"decoder.decoders.level{int(number) + shift}"

    if match := re.fullmatch(r"predict_flow(\d)", layer):
        follows = int(match[1]) < _COARSEST.get(net, 0)
        return f"{level(match[1])}.pred_out" + (".1" if follows else "")
    if match := re.fullmatch(r"inter_conv(\d)\.0", layer):
        return f"{level(match[1])}.pred_out.0"
    if match := re.fullmatch(r"deconv(\d)\.0", layer):
        return f"{level(str(int(match[1]) + 1))}.deconv_out.deconvs.0"
    if match := re.fullmatch(r"upsampled_flow(\d)_to_\d", layer):
        return f"{level(match[1])}.upsample_pred.deconvs.0"
    return layer


def _convolution(net: str, level: int, second: int) -> str:
    if level == 0 and net in ("flownetsd", "flownets_d"):
        return "encoder.plugin_layer.conv"
    if net == "flownetc" and level == 3 and second:
        return "corr_encoder.layers.0.layers.0.conv"
    if net == "flownetc" and level > 3:
        return f"corr_encoder.layers.{level - 3}.layers.{second}.conv"
    first = 0 if net == "flownetfusion" else 1
    return f"encoder.layers.{level - first}.layers.{second}.conv"
