"""open-mmlab/mmflow: FlowNetS to FlowNet2 (mmflow/models/) and RAFT, all for BGR images."""

from training.checkpoints.folding import scaled
from training.checkpoints.layout import Layout, Origin, Origins, Shapes, same
from training.checkpoints.mmflow_names import flownet_name, raft_name
from training.checkpoints.nvidia import FLOWNETS

# FlowNetC correlates 256 features. mmflow adds their products up, the papers' code averages them:
# LeakyReLU, which follows, lets the factor through to conv3_1.
_CORRELATED = 256.0
_REDIRECTED = 32  # input channels of conv3_1 before those of the correlation
# Inside of FlowNet2 NVIDIA's code divides the flow of FlowNetSD by 20, mmflow's multiplies it.
_SMALL_FLOW = 20.0**2


def _flownets(network: str, shapes: Shapes) -> Origins:
    origins = {
        name: Origin({flownet_name(network, name): shape}, same) for name, shape in shapes.items()
    }
    for name in origins.keys() & {"conv3_1.0.weight", "flownetc.conv3_1.0.weight"}:
        if "conv_redir.0.weight" in shapes or "flownetc.conv_redir.0.weight" in shapes:
            rule = "correlation: a sum there, a mean here, so conv3_1 times 256"
            origins[name] = scaled(origins[name], _CORRELATED, rule, start=_REDIRECTED)
    if network == "flownet2":
        for name in ("flownets_d.predict_flow2.weight", "flownets_d.predict_flow2.bias"):
            rule = "flow of FlowNetSD: times 20 there, divided by 20 here, so its head times 400"
            origins[name] = scaled(origins[name], _SMALL_FLOW, rule)
    return origins


def _raft(_: str, shapes: Shapes) -> Origins:
    return {name: Origin({raft_name(name): shape}, same) for name, shape in shapes.items()}


MMFLOW = Layout(
    publisher="open-mmlab/mmflow",
    networks=FLOWNETS,
    normalisation="zero_to_one",
    licence="Apache-2.0, if published by OpenMMLab",
    origins=_flownets,
    colours="BGR",
    # FlowNetCSS ends in bilinear upsampling there, in nearest-neighbour upsampling at NVIDIA's.
    upsampling={"flownetcss": "bilinear"},
)
MMFLOW_RAFT = Layout(
    publisher="open-mmlab/mmflow, RAFT",
    networks=("raft_large",),
    normalisation="minus_one_to_one",
    licence=MMFLOW.licence,
    origins=_raft,
    colours="BGR",
)
